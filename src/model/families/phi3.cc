#include "model/families/all.h"
#include "model/families/llama.h"
#include "model/rotary_fields.h"

namespace rapt {
namespace {

/// Phi-3 and Phi-4-mini: Llama whose q, k and v are rows of one matrix, and so are gate and up.
/// Rotary positions may turn part of a head, and be scaled by LongRoPE; sliding_window is of every
/// layer. @source arXiv:2404.14219
void read(ConfigFields& fields, ModelConfig& config) {
  read_extents(fields, config);
  config.rms_norm_eps = fields.number("rms_norm_eps", 1e-5);
  for (const char* bias : {"attention_bias", "lm_head_bias", "mlp_bias"})
    fields.serve_only(bias, false);
  for (const char* factor : {"full_attn_mod", "interpolate_factor"}) fields.serve_only(factor, 1.0);
  read_activation(fields, "hidden_act", config);
  read_rotary(fields, config, {.partial = true, .original_beside = true});
  set_windows(config, std::vector<bool>(config.num_hidden_layers, true), read_window(fields, 0));
  fields.ignore({"embd_pdrop", "resid_pdrop"});
}

BlockWeights block(const ModelConfig& c, const Weights& weights, std::int64_t layer) {
  const std::string name = llama_layer(layer);
  const std::int64_t q = c.num_attention_heads * c.head_dim,
                     kv = c.num_key_value_heads * c.head_dim, mlp = c.intermediate_size;
  const AffineWeights qkv =
      affine(weights, name + ".self_attn.qkv_proj", q + 2 * kv, c.hidden_size);
  const AffineWeights gate_up = affine(weights, name + ".mlp.gate_up_proj", 2 * mlp, c.hidden_size);
  BlockWeights block;
  llama_norms(c, weights, name, block);
  block.q = outputs_of(qkv, 0, q);
  block.k = outputs_of(qkv, q, kv);
  block.v = outputs_of(qkv, q + kv, kv);
  block.o = affine(weights, name + ".self_attn.o_proj", c.hidden_size, q);
  block.gate = outputs_of(gate_up, 0, mlp);
  block.up = outputs_of(gate_up, mlp, mlp);
  block.down = affine(weights, name + ".mlp.down_proj", c.hidden_size, mlp);
  return block;
}

}  // namespace

const Family kPhi3 = {"Phi3ForCausalLM", "phi3", read, llama_ends, block, false};

}  // namespace rapt
