#include "model/families/all.h"
#include "model/families/encoder_decoder.h"

namespace rapt {
namespace {

/// feed_forward_proj, and what is derived from it and saved beside it.
void read_mlp(ConfigFields& fields, ModelConfig& config) {
  constexpr const char* kKey = "feed_forward_proj";
  const std::string gated = "gated-";
  const std::string name = fields.has(kKey) ? fields[kKey].string() : "relu";
  config.is_gated_act = name.starts_with(gated);
  const std::string plain = config.is_gated_act ? name.substr(gated.size()) : name;
  const std::string act = name == "gated-gelu" ? "gelu_new" : plain;
  config.hidden_act = fields.has(kKey) ? activation_of(fields[kKey], act) : Activation::kRelu;
  fields.serve_only("is_gated_act", config.is_gated_act);
  if (fields.has("dense_act_fn"))
    fields["dense_act_fn"].serve_only(fields["dense_act_fn"].string() == act, "\"" + act + "\"");
}

/// T5, with the MLP of the first version or that of 1.1 and FLAN. With n(.) an RMS norm:
///
///     x = E[tokens]                                                  of encoder and decoder
///     x = x + attention(n(x))                                        of every layer
///     x = x + attention(n(x), memory)                                of the decoder's layers
///     x = x + W_o relu(W_i n(x)),  or W_o (gelu_tanh(W_0 n(x)) * (W_1 n(x)))
///     memory = n(x),  of the encoder;  logits = W_head n(x)
///
/// Scores are not scaled; attention to a text's own tokens adds a bias to them that goes by bucketed
/// distance and head, one table for all layers of the encoder and one for those of the decoder. Where
/// the head is the embedding, it reads n(x) / sqrt(d). Such positions have no longest one: n_positions,
/// or 512, is what was trained; the encoder takes any length.
///
/// @source arXiv:1910.10683 (the model), 2002.05202 (the MLP of 1.1)
void read(ConfigFields& fields, ModelConfig& config) {
  EncoderConfig encoder;
  config.vocab_size = fields.extent("vocab_size");
  config.hidden_size = fields.extent("d_model");
  config.intermediate_size = encoder.intermediate_size = fields.extent("d_ff");
  config.num_attention_heads = encoder.num_attention_heads = fields.extent("num_heads");
  config.head_dim = encoder.head_dim = fields.extent("d_kv");
  encoder.num_hidden_layers = fields.layers("num_layers");
  config.num_hidden_layers = fields.has("num_decoder_layers") ? fields.layers("num_decoder_layers")
                                                              : encoder.num_hidden_layers;
  config.encoder = encoder;
  config.max_position_embeddings = fields.extent("n_positions", 512);
  config.rms_norm_eps = fields.number("layer_norm_epsilon", 1e-6);
  read_mlp(fields, config);
  const RelativeBuckets relative = {fields.extent("relative_attention_num_buckets", 32),
                                    fields.extent("relative_attention_max_distance", 128)};
  config.layers.assign(static_cast<std::size_t>(config.num_hidden_layers),
                       {.relative = relative, .scale = 1.0f});
  config.tie_word_embeddings = true;
  config.scale_decoder_outputs =
      fields.flag("scale_decoder_outputs", fields.flag("tie_word_embeddings", true));
  read_encoder_decoder(fields, config);
  fields.ignore({"dropout_rate", "initializer_factor", "intermediate_size"});
}

EndWeights stack_ends(const ModelConfig& c, const Weights& weights, const std::string& stack) {
  EndWeights ends;
  ends.embedding = stack_embedding(c, weights, "shared.weight", stack + ".embed_tokens.weight");
  ends.final_norm = rms_norm_weights(weights, stack + ".final_layer_norm", c.hidden_size);
  return ends;
}

EndWeights ends(const ModelConfig& c, const Weights& weights) {
  EndWeights ends = stack_ends(c, weights, "decoder");
  ends.head = head_weights(weights, "lm_head.weight", c.tie_word_embeddings, ends.embedding);
  if (c.scale_decoder_outputs) ends.head_scale = 1 / root_of_width(c);
  // The first checkpoints hold a table for attention to the memory, which has no positions.
  const std::string unused =
      "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";
  if (weights.has(unused))
    weights.matrix(unused, c.layers.front().relative->buckets, c.num_attention_heads);
  return ends;
}

EndWeights encoder_ends(const ModelConfig& c, const Weights& weights) {
  return stack_ends(c, weights, "encoder");
}

/// Attention to the text's own tokens.
void self_attention(const ModelConfig& c, const Weights& weights, const std::string& stack,
                    const std::string& sublayer, BlockWeights& block) {
  const std::string name = sublayer + ".SelfAttention.";
  const std::int64_t d = c.hidden_size, heads_dim = c.num_attention_heads * c.head_dim;
  block.attention_in = rms_norm_weights(weights, sublayer + ".layer_norm", d);
  block.q = affine(weights, name + "q", heads_dim, d);
  block.k = affine(weights, name + "k", heads_dim, d);
  block.v = affine(weights, name + "v", heads_dim, d);
  block.o = affine(weights, name + "o", d, heads_dim);
  block.relative_bias =
      flat(weights.matrix(stack + ".block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                          c.layers.front().relative->buckets, c.num_attention_heads));
}

/// Attention to the encoder's output.
void cross_attention(const ModelConfig& c, const Weights& weights, const std::string& sublayer,
                     BlockWeights& block) {
  const std::string name = sublayer + ".EncDecAttention.";
  const std::int64_t d = c.hidden_size, heads_dim = c.num_attention_heads * c.head_dim;
  block.cross_in = rms_norm_weights(weights, sublayer + ".layer_norm", d);
  block.cross_q = affine(weights, name + "q", heads_dim, d);
  block.cross_k = affine(weights, name + "k", heads_dim, d);
  block.cross_v = affine(weights, name + "v", heads_dim, d);
  block.cross_o = affine(weights, name + "o", d, heads_dim);
}

void mlp(const ModelConfig& c, const Weights& weights, const std::string& sublayer,
         BlockWeights& block) {
  const std::string name = sublayer + ".DenseReluDense.";
  const std::int64_t d = c.hidden_size, width = c.intermediate_size;
  block.mlp_in = rms_norm_weights(weights, sublayer + ".layer_norm", d);
  block.gate = affine(weights, name + (c.is_gated_act ? "wi_0" : "wi"), width, d);
  if (c.is_gated_act) block.up = affine(weights, name + "wi_1", width, d);
  block.down = affine(weights, name + "wo", d, width);
}

BlockWeights block(const ModelConfig& c, const Weights& weights, std::int64_t layer) {
  const std::string sublayers = "decoder.block." + std::to_string(layer) + ".layer.";
  BlockWeights block;
  self_attention(c, weights, "decoder", sublayers + "0", block);
  cross_attention(c, weights, sublayers + "1", block);
  mlp(c, weights, sublayers + "2", block);
  return block;
}

BlockWeights encoder_block(const ModelConfig& c, const Weights& weights, std::int64_t layer) {
  const std::string sublayers = "encoder.block." + std::to_string(layer) + ".layer.";
  BlockWeights block;
  self_attention(c, weights, "encoder", sublayers + "0", block);
  mlp(c, weights, sublayers + "1", block);
  return block;
}

}  // namespace

const Family kT5 = {
    "T5ForConditionalGeneration", "t5", read, ends, block, false, encoder_ends, encoder_block};

}  // namespace rapt
