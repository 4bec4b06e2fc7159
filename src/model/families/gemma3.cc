#include <utility>

#include "model/families/all.h"
#include "model/families/gemma.h"
#include "model/families/llama.h"
#include "model/rotary_fields.h"

namespace rapt {
namespace {

/// Rotary positions of the layers without a window, and of those with one: rope_parameters by layer
/// type or, in older files, rope_theta with rope_scaling, and rope_local_base_freq.
std::pair<RotaryConfig, RotaryConfig> read_positions(ConfigFields& fields, ModelConfig& config) {
  config.rope_theta = 1e6;
  ModelConfig local = config;
  local.rope_theta = fields.number("rope_local_base_freq", 10000);
  if (fields.has("rope_parameters")) {
    ConfigFields by_type(fields["rope_parameters"]);
    read_rotary_object(by_type["full_attention"], fields.object(), config);
    if (by_type.has("sliding_attention"))
      read_rotary_object(by_type["sliding_attention"], fields.object(), local);
    by_type.check_all_read("\"full_attention\" or \"sliding_attention\"");
    fields.ignore({"rope_theta"});  // what is inside goes first
  } else {
    read_rotary(fields, config);
  }
  return {config.rotary(), local.rotary()};
}

/// Gemma 3, text: Gemma 2 without softcaps, with RMS norms of every head of q and k (1 + w too), and
/// with a base of rotary positions for layers with a window and another for those without. Every
/// sixth layer has none. @source arXiv:2503.19786
void read(ConfigFields& fields, ModelConfig& config) {
  read_gemma(fields, config);
  const auto [full, local] = read_positions(fields, config);
  std::int64_t pattern = 6;
  for (const char* key : {"_sliding_window_pattern", "sliding_window_pattern"})
    pattern = fields.extent(key, pattern);
  const auto by_default = [&](std::int64_t n) { return (n + 1) % pattern != 0; };
  set_windows(config, read_layer_types(fields, config, by_default), read_window(fields, 4096));
  for (LayerConfig& layer : config.layers) layer.rotary = layer.window > 0 ? local : full;
  if (fields.has("attn_logit_softcapping"))  // transformers has the field and does not look at it
    fields["attn_logit_softcapping"].fail("null", ErrorCode::kUnsupported);
  read_gemma_scores(fields, config, {});
}

BlockWeights block(const ModelConfig& c, const Weights& weights, std::int64_t layer) {
  const std::string name = llama_layer(layer) + ".self_attn.";
  BlockWeights block = gemma_block(c, weights, layer);
  block.q_norm = plus_one(weights.vector(name + "q_norm.weight", c.head_dim));
  block.k_norm = plus_one(weights.vector(name + "k_norm.weight", c.head_dim));
  return block;
}

}  // namespace

const Family kGemma3 = {"Gemma3ForCausalLM", "gemma3_text", read, gemma_ends, block, true};

}  // namespace rapt
