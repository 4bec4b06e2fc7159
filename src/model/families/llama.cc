#include "model/families/llama.h"

#include "model/families/all.h"
#include "model/rotary_fields.h"

namespace rapt {
namespace {

/// Llama 1 to 3 and models of their shape. With n(.) an RMS norm with its own weight:
///
///     x = E[tokens]
///     x = x + attention(n(x))                                        of every layer
///     x = x + W_down (silu(W_gate n(x)) * (W_up n(x)))               of every layer
///     logits = W_head n(x)
///
/// Attention is grouped-query with rotary positions.
///
/// @source arXiv:2302.13971 (the network), 2407.21783 (Llama 3), 2002.05202 (the MLP), 2104.09864
///         (rotary positions)
void read(ConfigFields& fields, ModelConfig& config) {
  read_extents(fields, config);
  config.rms_norm_eps = fields.number("rms_norm_eps", 1e-6);
  config.attention_bias = fields.flag("attention_bias", false);
  config.mlp_bias = fields.flag("mlp_bias", false);
  read_activation(fields, "hidden_act", config);
  read_rotary(fields, config);
}

}  // namespace

std::string llama_layer(std::int64_t layer) { return "model.layers." + std::to_string(layer); }

EndWeights llama_ends(const ModelConfig& c, const Weights& weights) {
  EndWeights ends;
  ends.embedding = weights.matrix("model.embed_tokens.weight", c.vocab_size, c.hidden_size);
  ends.final_norm = rms_norm_weights(weights, "model.norm", c.hidden_size);
  ends.head = head_weights(weights, "lm_head.weight", c.tie_word_embeddings, ends.embedding);
  return ends;
}

void llama_attention(const ModelConfig& c, const Weights& weights, const std::string& name,
                     bool qkv_bias, bool o_bias, BlockWeights& block) {
  const std::string attention = name + ".self_attn.";
  const std::int64_t q_dim = c.num_attention_heads * c.head_dim,
                     kv_dim = c.num_key_value_heads * c.head_dim;
  block.q = affine(weights, attention + "q_proj", q_dim, c.hidden_size, qkv_bias);
  block.k = affine(weights, attention + "k_proj", kv_dim, c.hidden_size, qkv_bias);
  block.v = affine(weights, attention + "v_proj", kv_dim, c.hidden_size, qkv_bias);
  block.o = affine(weights, attention + "o_proj", c.hidden_size, q_dim, o_bias);
}

void llama_mlp(const ModelConfig& c, const Weights& weights, const std::string& name,
               BlockWeights& block) {
  const std::string mlp = name + ".mlp.";
  block.gate = affine(weights, mlp + "gate_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
  block.up = affine(weights, mlp + "up_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
  block.down = affine(weights, mlp + "down_proj", c.hidden_size, c.intermediate_size, c.mlp_bias);
}

void llama_norms(const ModelConfig& c, const Weights& weights, const std::string& name,
                 BlockWeights& block) {
  block.attention_in = rms_norm_weights(weights, name + ".input_layernorm", c.hidden_size);
  block.mlp_in = rms_norm_weights(weights, name + ".post_attention_layernorm", c.hidden_size);
}

BlockWeights llama_block(const ModelConfig& c, const Weights& weights, std::int64_t layer) {
  const std::string name = llama_layer(layer);
  BlockWeights block;
  llama_norms(c, weights, name, block);
  llama_attention(c, weights, name, c.attention_bias, c.attention_bias, block);
  llama_mlp(c, weights, name, block);
  return block;
}

const Family kLlama = {"LlamaForCausalLM", "llama", read, llama_ends, llama_block, true};

}  // namespace rapt
