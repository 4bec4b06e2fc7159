#include "model/families/all.h"
#include "model/families/llama.h"
#include "model/rotary_fields.h"

namespace rapt {
namespace {

/// OLMo 2: Llama whose norms come after the sublayers, and with RMS norms of q and k, each over the
/// features of all heads.
///
///     x = x + n(attention(x))
///     x = x + n(W_down (silu(W_gate x) * (W_up x)))
///
/// @source arXiv:2501.00656
void read(ConfigFields& fields, ModelConfig& config) {
  read_extents(fields, config);
  config.rms_norm_eps = fields.number("rms_norm_eps", 1e-5);
  config.attention_bias = fields.flag("attention_bias", false);
  read_activation(fields, "hidden_act", config);
  read_rotary(fields, config);
}

BlockWeights block(const ModelConfig& c, const Weights& weights, std::int64_t layer) {
  const std::string name = llama_layer(layer);
  BlockWeights block;
  llama_attention(c, weights, name, c.attention_bias, c.attention_bias, block);
  block.q_norm =
      weights.vector(name + ".self_attn.q_norm.weight", c.num_attention_heads * c.head_dim);
  block.k_norm =
      weights.vector(name + ".self_attn.k_norm.weight", c.num_key_value_heads * c.head_dim);
  llama_mlp(c, weights, name, block);
  block.attention_out =
      rms_norm_weights(weights, name + ".post_attention_layernorm", c.hidden_size);
  block.mlp_out = rms_norm_weights(weights, name + ".post_feedforward_layernorm", c.hidden_size);
  return block;
}

}  // namespace

const Family kOlmo2 = {"Olmo2ForCausalLM", "olmo2", read, llama_ends, block, false};

}  // namespace rapt
