#include <algorithm>
#include <map>
#include <set>

#include "base/check.h"
#include "layer/rotary_scaling.h"
#include "model/families.h"
#include "model/json.h"
#include "model/rotary_fields.h"
#include "rapt/model.h"

namespace rapt {
namespace {

constexpr std::int64_t kLargest = std::int64_t{1} << 31;  // of any extent: token ids are 32 bits

template <class T>
using Fields = std::map<std::string, T ModelConfig::*>;

const Fields<std::int64_t> kExtents = {
    {"vocab_size", &ModelConfig::vocab_size},
    {"hidden_size", &ModelConfig::hidden_size},
    {"intermediate_size", &ModelConfig::intermediate_size},
    {"num_hidden_layers", &ModelConfig::num_hidden_layers},
    {"num_attention_heads", &ModelConfig::num_attention_heads},
    {"num_key_value_heads", &ModelConfig::num_key_value_heads},
    {"head_dim", &ModelConfig::head_dim},
    {"max_position_embeddings", &ModelConfig::max_position_embeddings},
};
const Fields<double> kNumbers = {
    {"rms_norm_eps", &ModelConfig::rms_norm_eps},
    {"rope_theta", &ModelConfig::rope_theta},
    {"partial_rotary_factor", &ModelConfig::partial_rotary_factor},
};
const Fields<bool> kFlags = {
    {"attention_bias", &ModelConfig::attention_bias},
    {"mlp_bias", &ModelConfig::mlp_bias},
    {"tie_word_embeddings", &ModelConfig::tie_word_embeddings},
};
const Fields<std::vector<std::int32_t>> kTokenIds = {
    {"bos_token_id", &ModelConfig::bos_token_ids},
    {"eos_token_id", &ModelConfig::eos_token_ids},
};

// Fields that change no result: what training used, and what tools note down.
const std::set<std::string> kIgnored = {
    "_name_or_path",     "attention_dropout",    "dtype",
    "initializer_range", "pad_token_id",         "pretraining_tp",
    "torch_dtype",       "transformers_version", "use_cache"};

std::vector<std::int32_t> read_token_ids(const JsonField& field) {
  const auto id = [](const JsonField& one) {
    return static_cast<std::int32_t>(one.integer(0, kLargest - 1));
  };
  if (!field.value().is_array()) return {id(field)};
  std::vector<std::int32_t> ids;
  for (std::size_t n = 0; n < field.array_size(); ++n) ids.push_back(id(field.at(n)));
  return ids;
}

std::string read_architecture(const JsonField& field) {
  if (field.array_size() != 1) field.fail("one architecture");
  const std::string& architecture = field.at(0).string();
  field.serve_only(find_family(architecture) != nullptr, "one of " + family_names());
  return architecture;
}

// Two names of one thing, of which tools read either.
void check_model_type(const JsonField& root, const ModelConfig& config) {
  if (!root.has("model_type")) return;
  const JsonField field = root["model_type"];
  const std::string expected = find_family(config.architecture)->model_type;
  if (field.string() != expected)
    field.fail("\"" + expected + "\", as " + config.architecture + " is one");
}

// Returns whether `key` is served. Its value is not null.
bool read_field(const std::string& key, const JsonField& field, ModelConfig& config) {
  if (const auto extent = kExtents.find(key); extent != kExtents.end())
    config.*extent->second = field.integer(1, kLargest);
  else if (const auto number = kNumbers.find(key); number != kNumbers.end())
    config.*number->second = field.number();
  else if (const auto flag = kFlags.find(key); flag != kFlags.end())
    config.*flag->second = field.boolean();
  else if (const auto ids = kTokenIds.find(key); ids != kTokenIds.end())
    config.*ids->second = read_token_ids(field);
  else if (key == "architectures")
    config.architecture = read_architecture(field);
  else if (key == "hidden_act")
    field.serve_only(field.string() == "silu", "\"silu\"");
  else if (key == "original_max_position_embeddings")
    field.integer(1, kLargest);
  else
    return key == "rope_scaling" || key == "rope_parameters";  // read after the others
  return true;
}

template <class Got>
void check(bool ok, const std::string& field, const std::string& expected, const Got& got) {
  require(ok, ErrorCode::kBadArgument, "ModelConfig." + field, expected, got);
}

bool contains(const std::vector<std::int32_t>& ids, std::int32_t token) {
  return std::find(ids.begin(), ids.end(), token) != ids.end();
}

}  // namespace

ModelConfig ModelConfig::parse(const std::string& json, const std::string& where) {
  const nlohmann::json document = parse_json(json, where);
  const JsonField root(document, where);
  for (const char* key : {"architectures", "vocab_size", "hidden_size", "intermediate_size",
                          "num_hidden_layers", "num_attention_heads", "max_position_embeddings"})
    if (root[key].is_null()) root[key].fail("a value");  // there is no default
  ModelConfig config;
  root.for_each_member([&](const std::string& key, const JsonField& field) {
    if (field.is_null() || key == "model_type" || kIgnored.contains(key)) return;
    field.serve_only(read_field(key, field, config),
                     "no field that this version does not know: it may change the model");
  });
  read_rotary(root, config);
  check_model_type(root, config);
  try {
    return config.validated();
  } catch (const Error& error) {
    throw Error(ErrorCode::kBadFile, where + ": " + error.what());
  }
}

ModelConfig ModelConfig::validated() const {
  ModelConfig c = *this;
  check(find_family(c.architecture) != nullptr, "architecture", "one of " + family_names(),
        c.architecture);
  if (c.num_key_value_heads == 0) c.num_key_value_heads = c.num_attention_heads;
  if (c.head_dim == 0 && c.num_attention_heads > 0) {
    check(c.hidden_size % c.num_attention_heads == 0, "hidden_size",
          "a multiple of num_attention_heads (" + std::to_string(c.num_attention_heads) +
              ") where head_dim is not given",
          c.hidden_size);
    c.head_dim = c.hidden_size / c.num_attention_heads;
  }
  for (const auto& [name, extent] : kExtents)
    check(c.*extent >= 1 && c.*extent <= kLargest, name, "1 to 2^31", c.*extent);
  check(c.num_attention_heads % c.num_key_value_heads == 0, "num_key_value_heads",
        "a divisor of num_attention_heads (" + std::to_string(c.num_attention_heads) + ")",
        c.num_key_value_heads);
  check(c.head_dim % 2 == 0, "head_dim", "an even number", c.head_dim);
  check(c.rms_norm_eps >= 0 && c.rms_norm_eps < 1, "rms_norm_eps", "0 <= eps < 1", c.rms_norm_eps);
  check(c.rope_theta >= 1 && c.rope_theta <= 1e12, "rope_theta", "1 to 1e12", c.rope_theta);
  check(c.partial_rotary_factor > 0 && c.partial_rotary_factor <= 1, "partial_rotary_factor",
        "more than 0, up to 1", c.partial_rotary_factor);
  check(c.rotary().dims > 0 && c.rotary().dims % 2 == 0, "partial_rotary_factor",
        "an even number of the " + std::to_string(c.head_dim) + " features of a head",
        c.partial_rotary_factor);
  check_rotary(c.rotary());
  return c;
}

RotaryConfig ModelConfig::rotary() const {
  RotaryConfig rotary;
  rotary.dims = static_cast<std::int64_t>(static_cast<double>(head_dim) * partial_rotary_factor);
  rotary.theta = rope_theta;
  rotary.scaling = rope_scaling;
  return rotary;
}

std::int64_t ModelConfig::context() const {
  const auto stretched = [](const auto& scaling) {
    const double tokens = scaling.factor * static_cast<double>(scaling.original_context);
    return static_cast<std::int64_t>(std::min(tokens, static_cast<double>(kLargest)));
  };
  if (const auto* dynamic = std::get_if<DynamicNtkScaling>(&rope_scaling))
    return std::max(max_position_embeddings, stretched(*dynamic));
  if (const auto* yarn = std::get_if<YarnScaling>(&rope_scaling))
    return std::max(max_position_embeddings, stretched(*yarn));
  return max_position_embeddings;
}

bool ModelConfig::ends_text(std::int32_t token) const {
  return contains(eos_token_ids, token) || contains(bos_token_ids, token);
}

}  // namespace rapt
