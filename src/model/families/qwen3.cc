#include "model/families/all.h"
#include "model/families/llama.h"
#include "model/families/qwen.h"

namespace rapt {
namespace {

/// Qwen 3: Llama with an RMS norm of every head of q and k, one weight for all heads, before they
/// are rotated. @source arXiv:2505.09388
void read(ConfigFields& fields, ModelConfig& config) {
  read_qwen(fields, config, 128);
  config.attention_bias = fields.flag("attention_bias", false);
}

BlockWeights block(const ModelConfig& c, const Weights& weights, std::int64_t layer) {
  const std::string name = llama_layer(layer);
  BlockWeights block = llama_block(c, weights, layer);
  block.q_norm = weights.vector(name + ".self_attn.q_norm.weight", c.head_dim);
  block.k_norm = weights.vector(name + ".self_attn.k_norm.weight", c.head_dim);
  return block;
}

}  // namespace

const Family kQwen3 = {"Qwen3ForCausalLM", "qwen3", read, llama_ends, block, true};

}  // namespace rapt
