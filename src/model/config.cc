#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/float_env.h"
#include "layer/rotary_scaling.h"
#include "model/config_fields.h"
#include "model/families.h"
#include "rapt/model.h"

namespace rapt {
namespace {

constexpr std::pair<const char*, std::int64_t ModelConfig::*> kExtents[] = {
    {"vocab_size", &ModelConfig::vocab_size},
    {"hidden_size", &ModelConfig::hidden_size},
    {"intermediate_size", &ModelConfig::intermediate_size},
    {"num_hidden_layers", &ModelConfig::num_hidden_layers},
    {"num_attention_heads", &ModelConfig::num_attention_heads},
    {"num_key_value_heads", &ModelConfig::num_key_value_heads},
    {"head_dim", &ModelConfig::head_dim},
    {"max_position_embeddings", &ModelConfig::max_position_embeddings},
};

const Family& read_family(ConfigFields& fields) {
  const JsonField field = fields["architectures"];
  if (field.is_null()) field.fail("a value");
  if (field.array_size() != 1) field.fail("one architecture");
  const Family* family = find_family(field.at(0).string());
  field.serve_only(family != nullptr, "one of " + family_names());
  if (fields.has("model_type")) {  // two names of one thing, of which tools read either
    const JsonField type = fields["model_type"];
    if (type.string() != family->model_type)
      type.fail(std::string("\"") + family->model_type + "\", as " + family->architecture +
                " is one");
  }
  return *family;
}

/// What every family has, and fields that change no result: what training used, and what tools note
/// down.
void read_common(ConfigFields& fields, ModelConfig& config) {
  config.bos_token_ids = read_token_ids(fields, "bos_token_id");
  config.eos_token_ids = read_token_ids(fields, "eos_token_id");
  config.tie_word_embeddings = fields.flag("tie_word_embeddings", config.tie_word_embeddings);
  fields.ignore({"_attn_implementation", "_attn_implementation_autoset", "_name_or_path",
                 "attention_dropout", "auto_map", "cache_implementation", "dtype",
                 "initializer_range", "pad_token_id", "pretraining_tp", "torch_dtype",
                 "transformers_version", "use_cache"});
}

template <class Got>
void check(bool ok, const std::string& field, const std::string& expected, const Got& got) {
  require(ok, ErrorCode::kBadArgument, "ModelConfig." + field, expected, got);
}

bool is_positive(float x) { return x > 0 && std::isfinite(x); }

void check_rotary_fields(const ModelConfig& c) {
  check(c.head_dim % 2 == 0, "head_dim", "an even number", c.head_dim);
  check(c.rope_theta >= 1 && c.rope_theta <= 1e12, "rope_theta", "1 to 1e12", c.rope_theta);
  check(c.partial_rotary_factor > 0 && c.partial_rotary_factor <= 1, "partial_rotary_factor",
        "more than 0, up to 1", c.partial_rotary_factor);
  check(c.rotary().dims > 0 && c.rotary().dims % 2 == 0, "partial_rotary_factor",
        "an even number of the " + std::to_string(c.head_dim) + " features of a head",
        c.partial_rotary_factor);
  check_rotary(c.rotary());
}

void check_layer(const ModelConfig& c, const LayerConfig& layer) {
  check(layer.window >= 0 && layer.window <= kLargestExtent, "layers.window", "0 to 2^31",
        layer.window);
  check(!layer.scale || is_positive(*layer.scale), "layers.scale", "a positive number",
        layer.scale.value_or(0));
  check(!layer.softcap || is_positive(*layer.softcap), "layers.softcap", "a positive number",
        layer.softcap.value_or(0));
  if (layer.relative) {
    const auto& [buckets, max_distance] = *layer.relative;
    check(buckets >= 4 && buckets <= 1 << 20 && buckets % 2 == 0, "layers.relative.buckets",
          "an even number from 4 to 2^20", buckets);
    check(max_distance > buckets / 2 && max_distance <= 1 << 20, "layers.relative.max_distance",
          std::to_string(buckets / 2 + 1) + " to 2^20", max_distance);
  }
  if (!layer.rotary) return;
  check_rotary(*layer.rotary);
  check(layer.rotary->dims <= c.head_dim, "layers.rotary",
        "at most head_dim (" + std::to_string(c.head_dim) + ") dims", layer.rotary->dims);
}

void check_encoder(const EncoderConfig& encoder) {
  for (const auto& [name, extent] : {std::pair("num_hidden_layers", encoder.num_hidden_layers),
                                     std::pair("num_attention_heads", encoder.num_attention_heads),
                                     std::pair("head_dim", encoder.head_dim),
                                     std::pair("intermediate_size", encoder.intermediate_size)})
    check(extent >= 1 && extent <= kLargestExtent, std::string("encoder.") + name, "1 to 2^31",
          extent);
  check(encoder.num_hidden_layers <= kMostLayers, "encoder.num_hidden_layers",
        "1 to " + std::to_string(kMostLayers), encoder.num_hidden_layers);
  check(encoder.max_position_embeddings >= 0, "encoder.max_position_embeddings", "0 or more",
        encoder.max_position_embeddings);
}

bool contains(const std::vector<std::int32_t>& ids, std::int32_t token) {
  return std::find(ids.begin(), ids.end(), token) != ids.end();
}

}  // namespace

ModelConfig ModelConfig::parse(const std::string& json, const std::string& where) {
  const CanonicalFloatEnv environment;
  const nlohmann::json document = parse_json(json, where);
  ConfigFields fields(JsonField(document, where));
  ModelConfig config;
  const Family& family = read_family(fields);
  config.architecture = family.architecture;
  family.read(fields, config);
  read_common(fields, config);
  fields.check_all_read("no field that this version does not know: it may change the model");
  try {
    return config.validated();
  } catch (const Error& error) {
    throw Error(ErrorCode::kBadFile, where + ": " + error.what());
  }
}

ModelConfig ModelConfig::validated() const {
  const CanonicalFloatEnv environment;
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
    check(c.*extent >= 1 && c.*extent <= kLargestExtent, name, "1 to 2^31", c.*extent);
  check(c.num_hidden_layers <= kMostLayers, "num_hidden_layers",
        "1 to " + std::to_string(kMostLayers), c.num_hidden_layers);
  check(c.num_attention_heads % c.num_key_value_heads == 0, "num_key_value_heads",
        "a divisor of num_attention_heads (" + std::to_string(c.num_attention_heads) + ")",
        c.num_key_value_heads);
  check(c.rms_norm_eps >= 0 && c.rms_norm_eps < 1, "rms_norm_eps", "0 <= eps < 1", c.rms_norm_eps);
  check(!c.final_logit_softcapping || is_positive(*c.final_logit_softcapping),
        "final_logit_softcapping", "a positive number", c.final_logit_softcapping.value_or(0));
  const auto is_rotary = [](const LayerConfig& layer) { return layer.rotary.has_value(); };
  if (c.layers.empty() || std::ranges::any_of(c.layers, is_rotary)) check_rotary_fields(c);
  if (c.layers.empty()) c.layers.assign(c.num_hidden_layers, {.rotary = c.rotary()});
  for (const LayerConfig& layer : c.layers) check_layer(c, layer);
  check(std::cmp_equal(c.layers.size(), c.num_hidden_layers), "layers",
        std::to_string(c.num_hidden_layers) + ", one a layer", c.layers.size());
  check(c.encoder.has_value() == find_family(c.architecture)->has_encoder(), "encoder",
        c.encoder ? "none, as " + c.architecture + " has none" : "that of " + c.architecture,
        c.encoder ? "one" : "none");
  if (c.encoder) check_encoder(*c.encoder);
  const auto check_tokens = [&](const std::vector<std::int32_t>& tokens, const char* field) {
    for (const std::int32_t token : tokens)
      check(token >= 0 && token < c.vocab_size, field, "0 to " + std::to_string(c.vocab_size - 1),
            token);
  };
  check_tokens(c.decoder_start_token_ids, "decoder_start_token_ids");
  check_tokens(c.suppressed_token_ids, "suppressed_token_ids");
  return c;
}

RotaryConfig ModelConfig::rotary() const {
  const CanonicalFloatEnv environment;
  RotaryConfig rotary;
  rotary.dims = static_cast<std::int64_t>(static_cast<double>(head_dim) * partial_rotary_factor);
  rotary.theta = rope_theta;
  rotary.scaling = rope_scaling;
  return rotary;
}

std::int64_t ModelConfig::context() const {
  const CanonicalFloatEnv environment;
  const auto stretched = [](const auto& scaling) {
    const double tokens = scaling.factor * static_cast<double>(scaling.original_context);
    return static_cast<std::int64_t>(std::min(tokens, static_cast<double>(kLargestExtent)));
  };
  if (const auto* dynamic = std::get_if<DynamicNtkScaling>(&rope_scaling))
    return std::max(max_position_embeddings, stretched(*dynamic));
  if (const auto* yarn = std::get_if<YarnScaling>(&rope_scaling))
    return std::max(max_position_embeddings, stretched(*yarn));
  return max_position_embeddings;
}

bool ModelConfig::ends_text(std::int32_t token) const {
  return contains(eos_token_ids, token) || (!encoder && contains(bos_token_ids, token));
}

}  // namespace rapt
