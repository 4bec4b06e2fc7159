#include "base/buffer.h"
#include "base/carver.h"
#include "base/float_env.h"
#include "base/rows.h"
#include "model/families.h"
#include "rapt/error.h"
#include "rapt/norm.h"

namespace rapt {
namespace {

/// One block of the network: attention, then the gated MLP, each on a normed copy of the residual
/// stream, to which it adds.
struct Layer {
  WeightVector attention_norm, mlp_norm;
  MultiHeadAttention attention;
  Linear gate, up, down;
};

/// Working memory of one step, all [1, 1, T, width].
struct Activations {
  MutableTensor x;         // the residual stream
  MutableTensor normed;    // what a sublayer reads
  MutableTensor change;    // what it adds
  MutableTensor gate, up;  // inside the MLP
};

/// Runs the layer's attention for an observer, who sees what it reads and gives.
void attend_observed(const DecoderStep& step, const MultiHeadAttention& attention,
                     const BatchPlan& plan, const MultiHeadAttention::BatchInputs& inputs,
                     MultiHeadAttention::Outputs outputs) {
  const Plan& only = plan.parts().front().plan;
  const Problem& p = only.problem();
  const Buffer q({p.batch, p.q_tokens, p.q_heads, p.head_dim}),
      o({p.batch, p.q_tokens, p.q_heads, p.value_dim()});
  outputs.queries = q.view;
  outputs.heads = o.view;
  attention(step.threads, plan, inputs, step.workspace, outputs);
  (*step.observer)(
      {inputs.layer, only, inputs.cache, inputs.sequences.front().sequence, q.view, o.view});
}

/// Llama. With x the residual stream, n(.) an RMS norm with its own weight:
///
///     x = E[tokens]
///     x = x + attention(n(x))                                        of every layer
///     x = x + W_down (silu(W_gate n(x)) * (W_up n(x)))               of every layer
///     logits = W_head n(x)
///
/// @source arXiv:2302.13971 (the network), 2002.05202 (the MLP), 2104.09864 (rotary positions)
class Llama final : public Decoder {
 public:
  Llama(const ModelConfig& config, const Weights& weights, const ModelOptions& options);

  void run(const DecoderStep& step, const MutableTensor& logits) const override;

 private:
  Activations carve(Scratch& scratch, std::int64_t tokens) const;
  void embed(std::span<const std::int32_t> tokens, const MutableTensor& x) const;
  void norm(const Threads& threads, const MutableTensor& x, const WeightVector& weight,
            const MutableTensor& y) const;

  WeightMatrix embedding_;
  std::vector<Layer> layers_;
  WeightVector final_norm_;
  Linear head_;
};

Linear make_linear(const AnyConstTensor& weight, const ConstTensor& bias,
                   const ModelOptions& options) {
  return options.weights ? Linear(weight, bias, *options.weights) : Linear(weight, bias);
}

/// W and b of name.weight and, where the config says so, name.bias.
struct Affine {
  WeightMatrix weight;
  WeightVector bias;

  Affine(const Weights& weights, const std::string& name, std::int64_t outputs, std::int64_t inputs,
         bool has_bias)
      : weight(weights.matrix(name + ".weight", outputs, inputs)) {
    if (has_bias) bias = weights.vector(name + ".bias", outputs);
  }

  Linear pack(const ModelOptions& options) const {
    return make_linear(weight.view, bias.view, options);
  }
};

MultiHeadAttention make_attention(const ModelConfig& c, const Weights& weights,
                                  const ModelOptions& options, const std::string& name) {
  const std::int64_t q_dim = c.num_attention_heads * c.head_dim;
  const std::int64_t kv_dim = c.num_key_value_heads * c.head_dim;
  const Affine q(weights, name + ".q_proj", q_dim, c.hidden_size, c.attention_bias);
  const Affine k(weights, name + ".k_proj", kv_dim, c.hidden_size, c.attention_bias);
  const Affine v(weights, name + ".v_proj", kv_dim, c.hidden_size, c.attention_bias);
  const Affine o(weights, name + ".o_proj", c.hidden_size, q_dim, c.attention_bias);

  MultiHeadAttention::Config config;
  config.model_dim = c.hidden_size;
  config.q_heads = c.num_attention_heads;
  config.kv_heads = c.num_key_value_heads;
  config.head_dim = c.head_dim;
  config.mask = Mask::causal();
  config.rotary = Rotary(c.rotary());
  config.weight_type = options.weights;
  config.arithmetic = options.attention;
  return {config,
          {q.weight.view, q.bias.view, k.weight.view, k.bias.view, v.weight.view, v.bias.view,
           o.weight.view, o.bias.view}};
}

Layer make_layer(const ModelConfig& c, const Weights& weights, const ModelOptions& options,
                 const std::string& name) {
  const auto mlp = [&](const char* part, std::int64_t outputs, std::int64_t inputs) {
    return Affine(weights, name + ".mlp." + part, outputs, inputs, c.mlp_bias).pack(options);
  };
  return {weights.vector(name + ".input_layernorm.weight", c.hidden_size),
          weights.vector(name + ".post_attention_layernorm.weight", c.hidden_size),
          make_attention(c, weights, options, name + ".self_attn"),
          mlp("gate_proj", c.intermediate_size, c.hidden_size),
          mlp("up_proj", c.intermediate_size, c.hidden_size),
          mlp("down_proj", c.hidden_size, c.intermediate_size)};
}

// A tied head is the embedding, read as a matrix of a linear map. A head that the files hold all
// the same is used, as transformers 5 does: it may differ.
Linear make_head(const ModelConfig& c, const Weights& weights, const ModelOptions& options,
                 const WeightMatrix& embedding) {
  if (c.tie_word_embeddings && !weights.has("lm_head.weight"))
    return make_linear(embedding.view, {}, options);
  const WeightMatrix head = weights.matrix("lm_head.weight", c.vocab_size, c.hidden_size);
  return make_linear(head.view, {}, options);
}

/// make(), whose errors begin with `name`.
template <class F>
auto named(const std::string& name, F&& make) {
  try {
    return make();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kBadArgument) throw;
    throw Error(ErrorCode::kBadFile, name + ": " + error.what());
  }
}

void add(const Threads& threads, const MutableTensor& x, const MutableTensor& change) {
  const std::int64_t width = x.extents[3];
  for_rows(threads, x.extents[2], 16, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t n = first * width; n < end * width; ++n) x.data[n] += change.data[n];
  });
}

/// Rows [first, first + count) of a contiguous [1, 1, T, width].
MutableTensor rows(const MutableTensor& x, std::int64_t first, std::int64_t count) {
  return {&x.at(0, 0, first, 0), {1, 1, count, x.extents[3]}};
}

Llama::Llama(const ModelConfig& config, const Weights& weights, const ModelOptions& options)
    : Decoder(config, options),
      embedding_(
          weights.matrix("model.embed_tokens.weight", config.vocab_size, config.hidden_size)),
      final_norm_(weights.vector("model.norm.weight", config.hidden_size)),
      head_(named("head", [&] { return make_head(config, weights, options, embedding_); })) {
  for (std::int64_t n = 0; n < config.num_hidden_layers; ++n) {
    const std::string name = "model.layers." + std::to_string(n);
    layers_.push_back(named(name, [&] { return make_layer(config, weights, options, name); }));
  }
}

void Llama::run(const DecoderStep& step, const MutableTensor& logits) const {
  const Threads& threads = step.threads;
  const Activations a = carve(step.activations, std::ssize(step.tokens));
  std::vector<MultiHeadAttention::BatchSequence> sequences;
  for (const DecoderSequence& part : step.sequences)
    sequences.push_back({part.sequence, part.tokens});
  std::optional<BatchPlan> plan;  // made by the first layer: all solve the same problem

  embed(step.tokens, a.x);
  for (std::size_t n = 0; n < layers_.size(); ++n) {
    const Layer& layer = layers_[n];
    norm(threads, a.x, layer.attention_norm, a.normed);
    const MultiHeadAttention::BatchInputs inputs{a.normed, sequences, step.cache,
                                                 static_cast<std::int64_t>(n), step.rotary_length};
    if (!plan) plan = layer.attention.plan(threads, inputs);
    MultiHeadAttention::Outputs outputs;
    outputs.y = a.change;
    if (step.observer == nullptr)
      layer.attention(threads, *plan, inputs, step.workspace, outputs);
    else
      attend_observed(step, layer.attention, *plan, inputs, outputs);
    add(threads, a.x, a.change);

    norm(threads, a.x, layer.mlp_norm, a.normed);
    layer.gate(threads, a.normed, a.gate, step.workspace.kernels);
    layer.up(threads, a.normed, a.up, step.workspace.kernels);
    silu_mul(threads, a.gate, a.up, a.gate);
    layer.down(threads, a.gate, a.change, step.workspace.kernels);
    add(threads, a.x, a.change);
  }
  if (logits.extents[2] == 0) return;
  std::int64_t token = 0, row = 0;
  for (const DecoderSequence& part : step.sequences) {  // rows wanted come together in `normed`
    token += part.tokens;
    norm(threads, rows(a.x, token - part.logits, part.logits), final_norm_,
         rows(a.normed, row, part.logits));
    row += part.logits;
  }
  head_(threads, rows(a.normed, 0, row), logits, step.workspace.kernels);
}

Activations Llama::carve(Scratch& scratch, std::int64_t tokens) const {
  const auto take_all = [&](Carver& carver) {
    const auto take = [&](std::int64_t width) {
      return MutableTensor(carver.take<float>(tokens * width), {1, 1, tokens, width});
    };
    const std::int64_t width = config().hidden_size, mlp_width = config().intermediate_size;
    return Activations{take(width), take(width), take(width), take(mlp_width), take(mlp_width)};
  };
  Carver measure;
  take_all(measure);
  Carver carver(scratch.reserve(measure.bytes()));
  return take_all(carver);
}

void Llama::embed(std::span<const std::int32_t> tokens, const MutableTensor& x) const {
  const CanonicalFloatEnv environment;  // an f16 may pass a denormal f32
  const std::int64_t width = config().hidden_size;
  visit(embedding_.view, [&](const auto& rows) {
    for (std::size_t t = 0; t < tokens.size(); ++t)
      for (std::int64_t e = 0; e < width; ++e)
        x.data[t * width + e] = to_float(rows.at(0, 0, tokens[t], e));
  });
}

void Llama::norm(const Threads& threads, const MutableTensor& x, const WeightVector& weight,
                 const MutableTensor& y) const {
  rms_norm(threads, x, weight.view, static_cast<float>(config().rms_norm_eps), y);
}

}  // namespace

std::unique_ptr<const Decoder> make_llama(const ModelConfig& config, const Weights& weights,
                                          const ModelOptions& options) {
  return std::make_unique<Llama>(config, weights, options);
}

}  // namespace rapt
