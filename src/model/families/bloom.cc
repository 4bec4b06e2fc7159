#include "model/families/all.h"

namespace rapt {
namespace {

/// BLOOM. With n(.) a layer norm:
///
///     x = n(E[tokens])
///     x = x + attention(n(x))                                        of every layer
///     x = x + W_out gelu_tanh(W_in n(x) + b_in) + b_out              of every layer
///     logits = E n(x)
///
/// Positions are ALiBi's, without a longest one: seq_length, or 2,048, is what was trained. q, k
/// and v of a head are adjacent rows of one matrix.
///
/// @source arXiv:2211.05100 (the model), 2108.12409 (ALiBi)
void read(ConfigFields& fields, ModelConfig& config) {
  config.vocab_size = fields.extent("vocab_size");
  config.hidden_size = fields.extent("n_embed", fields.extent("hidden_size", 64));
  config.intermediate_size = 4 * config.hidden_size;
  config.num_hidden_layers =
      fields.layers(fields.has("num_hidden_layers") ? "num_hidden_layers" : "n_layer");
  config.num_attention_heads =
      fields.extent(fields.has("num_attention_heads") ? "num_attention_heads" : "n_head");
  config.max_position_embeddings = fields.extent("seq_length", 2048);
  config.rms_norm_eps = fields.number("layer_norm_epsilon", 1e-5);
  config.tie_word_embeddings = true;
  config.hidden_act = Activation::kGeluTanh;
  config.layers.assign(config.num_hidden_layers, {.alibi = true});
  fields.serve_only("apply_residual_connection_post_layernorm", false);
  fields.ignore({"attention_softmax_in_fp32", "bias_dropout_fusion", "hidden_dropout",
                 "intermediate_size", "masked_softmax_fusion", "n_inner", "offset_alibi",
                 "skip_bias_add", "skip_bias_add_qkv", "slow_but_exact", "unk_token_id"});
}

EndWeights ends(const ModelConfig& c, const Weights& weights) {
  const std::string name = transformer_prefix(weights, "word_embeddings.weight");
  EndWeights ends;
  ends.embedding = weights.matrix(name + "word_embeddings.weight", c.vocab_size, c.hidden_size);
  ends.embedding_norm =
      layer_norm_weights(weights, name + "word_embeddings_layernorm", c.hidden_size);
  ends.final_norm = layer_norm_weights(weights, name + "ln_f", c.hidden_size);
  ends.head = head_weights(weights, "lm_head.weight", c.tie_word_embeddings, ends.embedding);
  return ends;
}

BlockWeights block(const ModelConfig& c, const Weights& weights, std::int64_t layer) {
  const std::string name =
      transformer_prefix(weights, "word_embeddings.weight") + "h." + std::to_string(layer);
  const std::int64_t d = c.hidden_size;
  const AffineWeights qkv =
      affine(weights, name + ".self_attention.query_key_value", 3 * d, d, true);
  BlockWeights block;
  block.attention_in = layer_norm_weights(weights, name + ".input_layernorm", d);
  block.q = interleaved_part(qkv, 3, 0, c.head_dim);
  block.k = interleaved_part(qkv, 3, 1, c.head_dim);
  block.v = interleaved_part(qkv, 3, 2, c.head_dim);
  block.o = affine(weights, name + ".self_attention.dense", d, d, true);
  block.mlp_in = layer_norm_weights(weights, name + ".post_attention_layernorm", d);
  block.gate = affine(weights, name + ".mlp.dense_h_to_4h", c.intermediate_size, d, true);
  block.down = affine(weights, name + ".mlp.dense_4h_to_h", d, c.intermediate_size, true);
  return block;
}

}  // namespace

const Family kBloom = {"BloomForCausalLM", "bloom", read, ends, block, false};

}  // namespace rapt
