#include "model/config_fields.h"

#include <sstream>
#include <utility>

namespace rapt {
namespace {

constexpr std::pair<const char*, Activation> kActivations[] = {
    {"silu", Activation::kSilu},         {"swish", Activation::kSilu},
    {"relu", Activation::kRelu},         {"gelu", Activation::kGelu},
    {"gelu_new", Activation::kGeluTanh}, {"gelu_pytorch_tanh", Activation::kGeluTanh}};

}  // namespace

JsonField ConfigFields::operator[](const char* key) {
  read_.insert(key);
  return object_[key];
}

std::int64_t ConfigFields::count(const char* key, std::int64_t most) {
  const JsonField field = (*this)[key];
  if (field.is_null()) field.fail("a value");
  return field.integer(1, most);
}

std::int64_t ConfigFields::extent(const char* key) { return count(key, kLargestExtent); }

std::int64_t ConfigFields::layers(const char* key) { return count(key, kMostLayers); }

std::int64_t ConfigFields::extent(const char* key, std::int64_t otherwise) {
  return has(key) ? extent(key) : otherwise;
}

double ConfigFields::number(const char* key, double otherwise) {
  return has(key) ? (*this)[key].number() : otherwise;
}

bool ConfigFields::given(const char* key) const { return object_.value().contains(key); }

bool ConfigFields::flag(const char* key, bool otherwise) {
  return has(key) ? (*this)[key].boolean() : otherwise;
}

void ConfigFields::serve_only(const char* key, bool served) {
  if (!has(key)) return;
  const JsonField field = (*this)[key];
  field.serve_only(field.boolean() == served, served ? "true" : "false");
}

void ConfigFields::serve_only(const char* key, double served) {
  if (!has(key)) return;
  const JsonField field = (*this)[key];
  field.serve_only(field.number() == served, (std::ostringstream() << served).str());
}

void ConfigFields::ignore(std::initializer_list<const char*> keys) {
  read_.insert(keys.begin(), keys.end());
}

void ConfigFields::check_all_read(const std::string& expected) const {
  object_.for_each_member([&](const std::string& key, const JsonField& field) {
    field.serve_only(field.is_null() || read_.contains(key), expected);
  });
}

std::vector<std::int32_t> read_token_ids(ConfigFields& fields, const char* key) {
  const auto id = [](const JsonField& one) {
    return static_cast<std::int32_t>(one.integer(0, kLargestExtent - 1));
  };
  if (!fields.has(key)) return {};
  const JsonField field = fields[key];
  if (!field.value().is_array()) return {id(field)};
  std::vector<std::int32_t> ids;
  for (std::size_t n = 0; n < field.array_size(); ++n) ids.push_back(id(field.at(n)));
  return ids;
}

void read_extents(ConfigFields& fields, ModelConfig& config, std::int64_t head_dim) {
  config.vocab_size = fields.extent("vocab_size");
  config.hidden_size = fields.extent("hidden_size");
  config.intermediate_size = fields.extent("intermediate_size");
  config.num_hidden_layers = fields.layers("num_hidden_layers");
  config.num_attention_heads = fields.extent("num_attention_heads");
  config.num_key_value_heads = fields.extent("num_key_value_heads", config.num_attention_heads);
  if (head_dim == 0 && config.hidden_size % config.num_attention_heads == 0)
    head_dim = config.hidden_size / config.num_attention_heads;
  config.head_dim = fields.extent("head_dim", head_dim);
  config.max_position_embeddings = fields.extent("max_position_embeddings");
}

Activation activation_of(const JsonField& field, const std::string& name) {
  std::string names;
  for (const auto& [known, activation] : kActivations) {
    if (name == known) return activation;
    names += (names.empty() ? "\"" : ", \"") + std::string(known) + "\"";
  }
  field.fail("one of " + names, ErrorCode::kUnsupported);
}

void read_activation(ConfigFields& fields, const char* key, ModelConfig& config) {
  if (fields.has(key)) config.hidden_act = activation_of(fields[key], fields[key].string());
}

std::vector<bool> read_layer_types(ConfigFields& fields, const ModelConfig& config,
                                   const std::function<bool(std::int64_t layer)>& by_default) {
  std::vector<bool> sliding;
  if (!fields.has("layer_types")) {
    for (std::int64_t n = 0; n < config.num_hidden_layers; ++n) sliding.push_back(by_default(n));
    return sliding;
  }
  const JsonField types = fields["layer_types"];
  if (std::cmp_not_equal(types.array_size(), config.num_hidden_layers))
    types.fail(std::to_string(config.num_hidden_layers) + " types, one a layer");
  for (std::size_t n = 0; n < types.array_size(); ++n) {
    const JsonField type = types.at(n);
    sliding.push_back(type.string() == "sliding_attention");
    type.serve_only(sliding.back() || type.string() == "full_attention",
                    "\"full_attention\" or \"sliding_attention\"");
  }
  return sliding;
}

std::int64_t read_window(ConfigFields& fields, std::int64_t otherwise) {
  return fields.extent("sliding_window", fields.given("sliding_window") ? 0 : otherwise);
}

void set_windows(ModelConfig& config, const std::vector<bool>& sliding, std::int64_t window) {
  config.layers.clear();
  for (const bool slides : sliding)
    config.layers.push_back({.window = slides ? window : 0, .rotary = config.rotary()});
}

}  // namespace rapt
