#include "model/families/all.h"
#include "model/families/llama.h"
#include "model/families/qwen.h"
#include "model/rotary_fields.h"

namespace rapt {
namespace {

/// Qwen 2 and 2.5: Llama with biases of q, k and v. Where use_sliding_window is true, the layers
/// from max_window_layers on have a window. @source arXiv:2407.10671
void read(ConfigFields& fields, ModelConfig& config) { read_qwen(fields, config, 0); }

}  // namespace

void read_qwen(ConfigFields& fields, ModelConfig& config, std::int64_t head_dim) {
  read_extents(fields, config, head_dim);
  config.num_key_value_heads = fields.extent("num_key_value_heads");  // no default is safe
  config.rms_norm_eps = fields.number("rms_norm_eps", 1e-6);
  fields.serve_only("use_mrope", false);
  read_activation(fields, "hidden_act", config);
  read_rotary(fields, config);
  const std::int64_t given = read_window(fields, 4096);
  const std::int64_t window = fields.flag("use_sliding_window", false) ? given : 0;
  const std::int64_t first =
      fields.has("max_window_layers") ? fields["max_window_layers"].integer(0, kMostLayers) : 28;
  const auto by_default = [&](std::int64_t n) { return window > 0 && n >= first; };
  set_windows(config, read_layer_types(fields, config, by_default), window);
}

namespace {

BlockWeights block(const ModelConfig& c, const Weights& weights, std::int64_t layer) {
  const std::string name = llama_layer(layer);
  BlockWeights block;
  llama_norms(c, weights, name, block);
  llama_attention(c, weights, name, true, false, block);
  llama_mlp(c, weights, name, block);
  return block;
}

}  // namespace

const Family kQwen2 = {"Qwen2ForCausalLM", "qwen2", read, llama_ends, block, true};

}  // namespace rapt
