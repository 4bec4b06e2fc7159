#include <algorithm>
#include <iterator>
#include <set>

#include "base/check.h"
#include "model/families.h"
#include "model/json.h"
#include "rapt/model.h"

namespace rapt {
namespace {

constexpr std::int64_t kLargest = std::int64_t{1} << 31;  // of any extent: token ids are 32 bits

// Fields that change no result: what training used, and what tools note down.
const std::set<std::string> kIgnored = {
    "_name_or_path", "attention_dropout", "dtype",       "initializer_range",    "model_type",
    "pad_token_id",  "pretraining_tp",    "torch_dtype", "transformers_version", "use_cache"};

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

// What transformers 5 writes in the place of rope_theta and rope_scaling, and the latter itself.
void read_rotary(const JsonField& field, ModelConfig& config) {
  field.for_each_member([&](const std::string& key, const JsonField& member) {
    if (key == "rope_theta") {
      config.rope_theta = member.number();
    } else if (key == "rope_type" || key == "type") {
      member.serve_only(member.string() == "default", "rotary positions of type \"default\"");
    } else {
      member.serve_only(member.is_null(), "no other field than rope_type and rope_theta");
    }
  });
}

void read_extent(const JsonField& field, std::int64_t& extent) {
  extent = field.integer(1, kLargest);
}

// Returns whether `key` is served. Its value is not null.
bool read_field(const std::string& key, const JsonField& field, ModelConfig& config) {
  if (key == "architectures")
    config.architecture = read_architecture(field);
  else if (key == "vocab_size")
    read_extent(field, config.vocab_size);
  else if (key == "hidden_size")
    read_extent(field, config.hidden_size);
  else if (key == "intermediate_size")
    read_extent(field, config.intermediate_size);
  else if (key == "num_hidden_layers")
    read_extent(field, config.num_hidden_layers);
  else if (key == "num_attention_heads")
    read_extent(field, config.num_attention_heads);
  else if (key == "num_key_value_heads")
    read_extent(field, config.num_key_value_heads);
  else if (key == "head_dim")
    read_extent(field, config.head_dim);
  else if (key == "max_position_embeddings")
    read_extent(field, config.max_position_embeddings);
  else if (key == "rms_norm_eps")
    config.rms_norm_eps = field.number();
  else if (key == "rope_theta")
    config.rope_theta = field.number();
  else if (key == "rope_scaling" || key == "rope_parameters")
    read_rotary(field, config);
  else if (key == "attention_bias")
    config.attention_bias = field.boolean();
  else if (key == "mlp_bias")
    config.mlp_bias = field.boolean();
  else if (key == "tie_word_embeddings")
    config.tie_word_embeddings = field.boolean();
  else if (key == "bos_token_id")
    config.bos_token_ids = read_token_ids(field);
  else if (key == "eos_token_id")
    config.eos_token_ids = read_token_ids(field);
  else if (key == "hidden_act")
    field.serve_only(field.string() == "silu", "\"silu\"");
  else
    return false;
  return true;
}

void check_extent(const char* where, std::int64_t value) {
  require(value >= 1 && value <= kLargest, ErrorCode::kBadArgument, where, "1 to 2^31", value);
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
    root[key];  // there is no default
  ModelConfig config;
  root.for_each_member([&](const std::string& key, const JsonField& field) {
    if (field.is_null() || kIgnored.contains(key)) return;
    field.serve_only(read_field(key, field, config),
                     "no field that this version does not know: it may change the model");
  });
  try {
    return config.validated();
  } catch (const Error& error) {
    throw Error(ErrorCode::kBadFile, where + ": " + error.what());
  }
}

ModelConfig ModelConfig::validated() const {
  ModelConfig c = *this;
  require(find_family(c.architecture) != nullptr, ErrorCode::kBadArgument,
          "ModelConfig.architecture", "one of " + family_names(), c.architecture);
  check_extent("ModelConfig.vocab_size", c.vocab_size);
  check_extent("ModelConfig.hidden_size", c.hidden_size);
  check_extent("ModelConfig.intermediate_size", c.intermediate_size);
  check_extent("ModelConfig.num_hidden_layers", c.num_hidden_layers);
  check_extent("ModelConfig.num_attention_heads", c.num_attention_heads);
  check_extent("ModelConfig.max_position_embeddings", c.max_position_embeddings);
  if (c.num_key_value_heads == 0) c.num_key_value_heads = c.num_attention_heads;
  require(c.num_key_value_heads > 0 && c.num_attention_heads % c.num_key_value_heads == 0,
          ErrorCode::kBadArgument, "ModelConfig.num_key_value_heads",
          "a divisor of num_attention_heads (" + std::to_string(c.num_attention_heads) + ")",
          c.num_key_value_heads);
  if (c.head_dim == 0) {
    require(c.hidden_size % c.num_attention_heads == 0, ErrorCode::kBadArgument,
            "ModelConfig.hidden_size",
            "a multiple of num_attention_heads (" + std::to_string(c.num_attention_heads) +
                ") where head_dim is not given",
            c.hidden_size);
    c.head_dim = c.hidden_size / c.num_attention_heads;
  }
  require(c.head_dim > 0 && c.head_dim <= kLargest && c.head_dim % 2 == 0, ErrorCode::kBadArgument,
          "ModelConfig.head_dim", "a positive even number", c.head_dim);
  require(c.rms_norm_eps >= 0 && c.rms_norm_eps < 1, ErrorCode::kBadArgument,
          "ModelConfig.rms_norm_eps", "0 <= eps < 1", c.rms_norm_eps);
  require(c.rope_theta >= 1 && c.rope_theta <= 1e12, ErrorCode::kBadArgument,
          "ModelConfig.rope_theta", "1 to 1e12", c.rope_theta);
  return c;
}

bool ModelConfig::ends_text(std::int32_t token) const {
  return contains(eos_token_ids, token) || contains(bos_token_ids, token);
}

}  // namespace rapt
