#include "model/families/all.h"
#include "model/rotary_fields.h"

namespace rapt {
namespace {

/// GPT-NeoX and Pythia. With n(.) a layer norm, and both sublayers reading the same x:
///
///     x = E[tokens]
///     x = x + attention(n(x)) + W_out gelu(W_in n'(x) + b_in) + b_out   of every layer
///     logits = W_head n(x)
///
/// or one after the other, where use_parallel_residual is false. Rotary positions turn the first
/// rotary_pct of a head's features. q, k and v of a head are adjacent rows of one matrix.
///
/// @source arXiv:2204.06745
void read(ConfigFields& fields, ModelConfig& config) {
  config.vocab_size = fields.extent("vocab_size");
  config.hidden_size = fields.extent("hidden_size");
  config.intermediate_size = fields.extent("intermediate_size");
  config.num_hidden_layers = fields.layers("num_hidden_layers");
  config.num_attention_heads = fields.extent("num_attention_heads");
  config.max_position_embeddings = fields.extent("max_position_embeddings");
  config.rms_norm_eps = fields.number("layer_norm_eps", 1e-5);
  config.attention_bias = fields.flag("attention_bias", true);
  config.use_parallel_residual = fields.flag("use_parallel_residual", true);
  config.hidden_act = Activation::kGelu;
  read_activation(fields, "hidden_act", config);
  config.rope_theta = fields.number("rotary_emb_base", 10000);
  config.partial_rotary_factor = fields.number("rotary_pct", 0.25);
  for (const char* key :
       {"rope_theta", "partial_rotary_factor"})  // which transformers does not read
    if (fields.has(key))
      fields[key].fail("none beside rotary_emb_base, rotary_pct or rope_parameters",
                       ErrorCode::kUnsupported);
  read_rotary(fields, config, {.partial = true});
  fields.serve_only("is_decoder", false);
  fields.ignore({"classifier_dropout", "hidden_dropout"});
}

EndWeights ends(const ModelConfig& c, const Weights& weights) {
  EndWeights ends;
  ends.embedding = weights.matrix("gpt_neox.embed_in.weight", c.vocab_size, c.hidden_size);
  ends.final_norm = layer_norm_weights(weights, "gpt_neox.final_layer_norm", c.hidden_size);
  ends.head = head_weights(weights, "embed_out.weight", c.tie_word_embeddings, ends.embedding);
  return ends;
}

BlockWeights block(const ModelConfig& c, const Weights& weights, std::int64_t layer) {
  const std::string name = "gpt_neox.layers." + std::to_string(layer);
  const std::int64_t d = c.hidden_size;
  const AffineWeights qkv =
      affine(weights, name + ".attention.query_key_value", 3 * d, d, c.attention_bias);
  BlockWeights block;
  block.attention_in = layer_norm_weights(weights, name + ".input_layernorm", d);
  block.q = interleaved_part(qkv, 3, 0, c.head_dim);
  block.k = interleaved_part(qkv, 3, 1, c.head_dim);
  block.v = interleaved_part(qkv, 3, 2, c.head_dim);
  block.o = affine(weights, name + ".attention.dense", d, d, c.attention_bias);
  block.mlp_in = layer_norm_weights(weights, name + ".post_attention_layernorm", d);
  block.gate = affine(weights, name + ".mlp.dense_h_to_4h", c.intermediate_size, d, true);
  block.down = affine(weights, name + ".mlp.dense_4h_to_h", d, c.intermediate_size, true);
  return block;
}

}  // namespace

const Family kGptNeoX = {"GPTNeoXForCausalLM", "gpt_neox", read, ends, block, false};

}  // namespace rapt
