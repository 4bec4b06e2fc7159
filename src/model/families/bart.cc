#include "model/families/bart.h"

#include "model/families/all.h"
#include "model/families/encoder_decoder.h"

namespace rapt {
namespace {

constexpr std::int64_t kFirstPosition = 2;  // the rows before it are of no position

/// BART. With n(.) a layer norm, after what it is for:
///
///     x = n(E[tokens] + P[positions])                                of encoder and decoder
///     x = n(x + attention(x))                                        of every layer
///     x = n(x + attention(x, memory))                                of the decoder's layers
///     x = n(x + W_2 gelu(W_1 x + b_1) + b_2)                         of every layer
///     memory = x,  of the encoder;  logits = E x + b
///
/// @source arXiv:1910.13461
void read(ConfigFields& fields, ModelConfig& config) {
  read_bart(fields, config, 2);
  fields.serve_only("normalize_embedding", true);
  fields.serve_only("static_position_embeddings", false);
}

/// With the positions and the norm of `stack`.
EndWeights embedding_of(const ModelConfig& c, const Weights& weights, const std::string& stack,
                        EndWeights ends) {
  const AffineWeights rows = {
      weights.matrix("model." + stack + ".embed_positions.weight",
                     c.max_position_embeddings + kFirstPosition, c.hidden_size),
      {}};
  ends.positions = outputs_of(rows, kFirstPosition, c.max_position_embeddings).weight;
  ends.embedding_norm =
      layer_norm_weights(weights, "model." + stack + ".layernorm_embedding", c.hidden_size);
  return ends;
}

EndWeights ends(const ModelConfig& c, const Weights& weights) {
  return embedding_of(c, weights, "decoder", bart_decoder_ends(c, weights));
}

EndWeights encoder_ends(const ModelConfig& c, const Weights& weights) {
  return embedding_of(c, weights, "encoder", bart_encoder_ends(c, weights));
}

struct AttentionMaps {
  AffineWeights q, k, v, o;
};

AttentionMaps attention(const ModelConfig& c, const Weights& weights, const std::string& name) {
  const std::int64_t d = c.hidden_size, heads_dim = c.num_attention_heads * c.head_dim;
  return {affine(weights, name + ".q_proj", heads_dim, d, true),
          affine(weights, name + ".k_proj", heads_dim, d, true),
          affine(weights, name + ".v_proj", heads_dim, d, true),
          affine(weights, name + ".out_proj", d, heads_dim, true)};
}

/// All but the attention to the memory.
BlockWeights block(const ModelConfig& c, const Weights& weights, const std::string& name) {
  const std::int64_t d = c.hidden_size, width = c.intermediate_size;
  const AttentionMaps self = attention(c, weights, name + ".self_attn");
  BlockWeights block;
  block.q = self.q;
  block.k = self.k;
  block.v = self.v;
  block.o = self.o;
  block.attention_sum = layer_norm_weights(weights, name + ".self_attn_layer_norm", d);
  block.gate = affine(weights, name + ".fc1", width, d, true);
  block.down = affine(weights, name + ".fc2", d, width, true);
  block.mlp_sum = layer_norm_weights(weights, name + ".final_layer_norm", d);
  return block;
}

EndWeights shared_ends(const ModelConfig& c, const Weights& weights, const std::string& stack) {
  EndWeights ends;
  ends.embedding =
      stack_embedding(c, weights, "model.shared.weight", "model." + stack + ".embed_tokens.weight");
  if (c.scale_embedding) ends.embedding_scale = root_of_width(c);
  return ends;
}

/// The features of each of `heads` heads, whose number `key` gives.
std::int64_t head_dim(ConfigFields& fields, const ModelConfig& config, std::int64_t heads,
                      const char* key) {
  if (config.hidden_size % heads != 0)
    fields[key].fail("a divisor of d_model (" + std::to_string(config.hidden_size) + ")");
  return config.hidden_size / heads;
}

}  // namespace

void read_bart(ConfigFields& fields, ModelConfig& config, std::int32_t start) {
  EncoderConfig encoder;
  config.vocab_size = fields.extent("vocab_size");
  config.hidden_size = fields.extent("d_model");
  config.intermediate_size = fields.extent("decoder_ffn_dim");
  config.num_hidden_layers = fields.layers("decoder_layers");
  config.num_attention_heads = fields.extent("decoder_attention_heads");
  config.head_dim = head_dim(fields, config, config.num_attention_heads, "decoder_attention_heads");
  encoder.intermediate_size = fields.extent("encoder_ffn_dim");
  encoder.num_hidden_layers = fields.layers("encoder_layers");
  encoder.num_attention_heads = fields.extent("encoder_attention_heads");
  encoder.head_dim =
      head_dim(fields, config, encoder.num_attention_heads, "encoder_attention_heads");
  config.max_position_embeddings = encoder.max_position_embeddings =
      fields.extent("max_position_embeddings", 1024);
  config.encoder = encoder;
  config.rms_norm_eps = 1e-5;
  config.hidden_act = Activation::kGelu;
  read_activation(fields, "activation_function", config);
  config.scale_embedding = fields.flag("scale_embedding", false);
  config.tie_word_embeddings = true;
  config.layers.assign(static_cast<std::size_t>(config.num_hidden_layers), {});
  read_encoder_decoder(fields, config, start);
  // Other names of the same, which must agree.
  fields.serve_only("hidden_size", static_cast<double>(config.hidden_size));
  fields.serve_only("num_hidden_layers", static_cast<double>(encoder.num_hidden_layers));
  fields.serve_only("num_attention_heads", static_cast<double>(encoder.num_attention_heads));
  // Of the program that trained them; transformers has one network.
  fields.serve_only("add_bias_logits", false);
  fields.serve_only("add_final_layer_norm", false);
  fields.serve_only("do_blenderbot_90_layernorm", false);
  fields.serve_only("normalize_before", false);
  fields.ignore({"_num_labels", "activation_dropout", "decoder_layerdrop", "dropout",
                 "encoder_layerdrop", "extra_pos_embeddings", "id2label", "init_std",
                 "intermediate_size", "label2id"});
}

EndWeights bart_encoder_ends(const ModelConfig& c, const Weights& weights) {
  return shared_ends(c, weights, "encoder");
}

EndWeights bart_decoder_ends(const ModelConfig& c, const Weights& weights) {
  EndWeights ends = shared_ends(c, weights, "decoder");
  ends.head = head_weights(weights, "lm_head.weight", c.tie_word_embeddings, ends.embedding);
  if (weights.has("final_logits_bias"))
    ends.head_bias = flat(weights.matrix("final_logits_bias", 1, c.vocab_size));
  return ends;
}

BlockWeights bart_encoder_block(const ModelConfig& c, const Weights& weights, std::int64_t layer) {
  return block(c, weights, "model.encoder.layers." + std::to_string(layer));
}

BlockWeights bart_decoder_block(const ModelConfig& c, const Weights& weights, std::int64_t layer) {
  const std::string name = "model.decoder.layers." + std::to_string(layer);
  BlockWeights b = block(c, weights, name);
  const AttentionMaps cross = attention(c, weights, name + ".encoder_attn");
  b.cross_q = cross.q;
  b.cross_k = cross.k;
  b.cross_v = cross.v;
  b.cross_o = cross.o;
  b.cross_sum = layer_norm_weights(weights, name + ".encoder_attn_layer_norm", c.hidden_size);
  return b;
}

const Family kBart = {"BartForConditionalGeneration",
                      "bart",
                      read,
                      ends,
                      bart_decoder_block,
                      false,
                      encoder_ends,
                      bart_encoder_block};

}  // namespace rapt
