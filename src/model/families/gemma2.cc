#include <cmath>

#include "model/families/all.h"
#include "model/families/gemma.h"
#include "model/families/llama.h"
#include "model/rotary_fields.h"

namespace rapt {
namespace {

/// Gemma 2. With n(x) = (1 + w) x / rms(x):
///
///     x = E[tokens] sqrt(d)
///     x = x + n(attention(n(x)))                                     of every layer
///     x = x + n(W_down (gelu_tanh(W_gate n(x)) * (W_up n(x))))       of every layer
///     logits = c tanh(E n(x) / c)                                    c: final_logit_softcapping
///
/// Scores are q.k / sqrt(query_pre_attn_scalar), then capped at attn_logit_softcapping. Every
/// second layer, from the first on, has a window of sliding_window tokens. sqrt(d) is rounded to the
/// type of the embedding, as transformers does.
///
/// @source arXiv:2408.00118
void read(ConfigFields& fields, ModelConfig& config) {
  read_gemma(fields, config);
  read_rotary(fields, config);
  const auto by_default = [](std::int64_t n) { return n % 2 == 0; };
  const std::vector<bool> sliding = read_layer_types(fields, config, by_default);
  set_windows(config, sliding, read_window(fields, 4096));
  read_gemma_scores(fields, config, {.attention = 50.0f, .logits = 30.0f});
  fields.ignore({"sliding_window_size"});  // transformers reads sliding_window alone
}

std::optional<float> read_softcap(ConfigFields& fields, const char* key,
                                  const std::optional<float>& absent) {
  if (!fields.given(key)) return absent;
  if (!fields.has(key)) return std::nullopt;
  return static_cast<float>(fields.number(key, 0));
}

NormWeights norm(const Weights& weights, const std::string& name, std::int64_t size) {
  NormWeights norm = rms_norm_weights(weights, name, size);
  norm.weight = plus_one(norm.weight);
  return norm;
}

}  // namespace

void read_gemma(ConfigFields& fields, ModelConfig& config) {
  read_extents(fields, config, 256);
  config.num_key_value_heads = fields.extent("num_key_value_heads");  // no default is safe
  config.rms_norm_eps = fields.number("rms_norm_eps", 1e-6);
  config.attention_bias = fields.flag("attention_bias", false);
  config.tie_word_embeddings = true;
  config.hidden_act = Activation::kGeluTanh;
  read_activation(fields, "hidden_activation", config);
  fields.ignore({"hidden_act"});  // transformers reads hidden_activation alone
  fields.serve_only("use_bidirectional_attention", false);
}

void read_gemma_scores(ConfigFields& fields, ModelConfig& config, const GemmaSoftcaps& absent) {
  const double scalar = fields.number("query_pre_attn_scalar", 256);
  for (LayerConfig& layer : config.layers) {
    layer.scale = static_cast<float>(1 / std::sqrt(scalar));
    layer.softcap = read_softcap(fields, "attn_logit_softcapping", absent.attention);
  }
  config.final_logit_softcapping = read_softcap(fields, "final_logit_softcapping", absent.logits);
}

EndWeights gemma_ends(const ModelConfig& c, const Weights& weights) {
  EndWeights ends = llama_ends(c, weights);
  ends.final_norm.weight = plus_one(ends.final_norm.weight);
  const auto scale = static_cast<float>(std::sqrt(static_cast<double>(c.hidden_size)));
  ends.embedding_scale = with_type(ends.embedding.view.dtype,
                                   [&]<class T>(T) { return to_float(from_float<T>(scale)); });
  return ends;
}

BlockWeights gemma_block(const ModelConfig& c, const Weights& weights, std::int64_t layer) {
  const std::string name = llama_layer(layer);
  BlockWeights block;
  block.attention_in = norm(weights, name + ".input_layernorm", c.hidden_size);
  llama_attention(c, weights, name, c.attention_bias, c.attention_bias, block);
  block.attention_out = norm(weights, name + ".post_attention_layernorm", c.hidden_size);
  block.mlp_in = norm(weights, name + ".pre_feedforward_layernorm", c.hidden_size);
  llama_mlp(c, weights, name, block);
  block.mlp_out = norm(weights, name + ".post_feedforward_layernorm", c.hidden_size);
  return block;
}

const Family kGemma2 = {"Gemma2ForCausalLM", "gemma2", read, gemma_ends, gemma_block, true};

}  // namespace rapt
