#include <cmath>

#include "model/families/all.h"

namespace rapt {
namespace {

/// GPT-2. With n(.) a layer norm:
///
///     x = E[tokens] + P[positions]
///     x = x + attention(n(x))                                        of every layer
///     x = x + W_proj gelu_tanh(W_fc n(x) + b_fc) + b_proj            of every layer
///     logits = E n(x)
///
/// Matrices are stored transposed, [inputs, outputs]; q, k and v are columns of one.
///
/// @source Radford et al., "Language Models are Unsupervised Multitask Learners", 2019
void read(ConfigFields& fields, ModelConfig& config) {
  config.vocab_size = fields.extent("vocab_size");
  config.hidden_size = fields.extent("n_embd");
  config.intermediate_size = fields.extent("n_inner", 4 * config.hidden_size);
  config.num_hidden_layers = fields.layers("n_layer");
  config.num_attention_heads = fields.extent("n_head");
  config.max_position_embeddings = fields.extent("n_positions");
  config.rms_norm_eps = fields.number("layer_norm_epsilon", 1e-5);
  config.tie_word_embeddings = true;
  config.hidden_act = Activation::kGeluTanh;
  read_activation(fields, "activation_function", config);
  config.layers.assign(config.num_hidden_layers, {});
  const double head_dim =
      static_cast<double>(config.hidden_size) / static_cast<double>(config.num_attention_heads);
  const double scale = fields.flag("scale_attn_weights", true) ? 1 / std::sqrt(head_dim) : 1;
  const bool by_layer = fields.flag("scale_attn_by_inverse_layer_idx", false);
  for (std::size_t n = 0; n < config.layers.size(); ++n)
    config.layers[n].scale =
        static_cast<float>(scale / (by_layer ? static_cast<double>(n + 1) : 1));
  fields.serve_only("add_cross_attention", false);
  fields.ignore({"attn_pdrop", "embd_pdrop", "gradient_checkpointing", "intermediate_size", "n_ctx",
                 "reorder_and_upcast_attn", "resid_pdrop", "summary_activation",
                 "summary_first_dropout", "summary_proj_to_labels", "summary_type",
                 "summary_use_proj", "task_specific_params"});
}

EndWeights ends(const ModelConfig& c, const Weights& weights) {
  const std::string name = transformer_prefix(weights, "wte.weight");
  EndWeights ends;
  ends.embedding = weights.matrix(name + "wte.weight", c.vocab_size, c.hidden_size);
  ends.positions = weights.matrix(name + "wpe.weight", c.max_position_embeddings, c.hidden_size);
  ends.final_norm = layer_norm_weights(weights, name + "ln_f", c.hidden_size);
  ends.head = head_weights(weights, "lm_head.weight", c.tie_word_embeddings, ends.embedding);
  return ends;
}

BlockWeights block(const ModelConfig& c, const Weights& weights, std::int64_t layer) {
  const std::string name = transformer_prefix(weights, "wte.weight") + "h." + std::to_string(layer);
  const std::int64_t d = c.hidden_size;
  const AffineWeights qkv = transposed_affine(weights, name + ".attn.c_attn", 3 * d, d);
  BlockWeights block;
  block.attention_in = layer_norm_weights(weights, name + ".ln_1", d);
  block.q = outputs_of(qkv, 0, d);
  block.k = outputs_of(qkv, d, d);
  block.v = outputs_of(qkv, 2 * d, d);
  block.o = transposed_affine(weights, name + ".attn.c_proj", d, d);
  block.mlp_in = layer_norm_weights(weights, name + ".ln_2", d);
  block.gate = transposed_affine(weights, name + ".mlp.c_fc", c.intermediate_size, d);
  block.down = transposed_affine(weights, name + ".mlp.c_proj", d, c.intermediate_size);
  return block;
}

}  // namespace

const Family kGpt2 = {"GPT2LMHeadModel", "gpt2", read, ends, block, false};

}  // namespace rapt
