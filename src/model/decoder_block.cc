#include "model/decoder_block.h"

#include <functional>
#include <utility>

#include "base/buffer.h"
#include "base/carver.h"
#include "base/rows.h"
#include "rapt/norm.h"

namespace rapt {
namespace {

/// What attention to the sequence's own tokens and to the memory have in common.
MultiHeadAttention::Config heads_of(const ModelConfig& c, const LayerConfig& layer,
                                    const ModelOptions& options) {
  MultiHeadAttention::Config config;
  config.model_dim = c.hidden_size;
  config.q_heads = c.num_attention_heads;
  config.kv_heads = c.num_key_value_heads;
  config.head_dim = c.head_dim;
  config.scale = layer.scale;
  config.weight_type = options.weights;
  config.arithmetic = options.attention;
  return config;
}

Mask mask_of(const LayerConfig& layer, BlockKind kind) {
  if (kind == BlockKind::kEncoder) return Mask::none();
  return layer.window == 0 ? Mask::causal() : Mask::sliding_window(layer.window);
}

MultiHeadAttention make_attention(const ModelConfig& c, const LayerConfig& layer,
                                  const BlockWeights& w, const ModelOptions& options,
                                  BlockKind kind) {
  MultiHeadAttention::Config config = heads_of(c, layer, options);
  config.mask = mask_of(layer, kind);
  config.modifiers.softcap = layer.softcap;
  if (layer.alibi) config.modifiers.alibi_slopes = alibi_slopes(c.num_attention_heads);
  if (layer.relative) {
    const ConstTensor& table = w.relative_bias.view;
    config.modifiers.relative_bias = {layer.relative->buckets,
                                      layer.relative->max_distance,
                                      kind == BlockKind::kEncoder,
                                      {table.data, table.data + table.extents[3]}};
  }
  config.norm_eps = static_cast<float>(c.rms_norm_eps);
  if (layer.rotary) config.rotary = Rotary(*layer.rotary);
  return {config,
          {w.q.weight.view, w.q.bias.view, w.k.weight.view, w.k.bias.view, w.v.weight.view,
           w.v.bias.view, w.o.weight.view, w.o.bias.view, w.q_norm.view, w.k_norm.view}};
}

MultiHeadAttention make_cross_attention(const ModelConfig& c, const LayerConfig& layer,
                                        const BlockWeights& w, const ModelOptions& options) {
  return {heads_of(c, layer, options),
          {w.cross_q.weight.view, w.cross_q.bias.view, w.cross_k.weight.view, w.cross_k.bias.view,
           w.cross_v.weight.view, w.cross_v.bias.view, w.cross_o.weight.view, w.cross_o.bias.view}};
}

void add(const Threads& threads, const MutableTensor& x, const MutableTensor& change) {
  const std::int64_t width = x.extents[3];
  for_rows(threads, x.extents[2], 16, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t n = first * width; n < end * width; ++n) x.data[n] += change.data[n];
  });
}

/// Whether layers solve the same problem. Rotary positions are no part of it; all layers have one
/// table of relative positions.
bool same_problem(const LayerConfig& a, const LayerConfig& b) {
  return a.window == b.window && a.alibi == b.alibi && a.relative == b.relative &&
         a.scale == b.scale && a.softcap == b.softcap;
}

}  // namespace

void apply_norm(const Threads& threads, const NormWeights& norm, double eps, const MutableTensor& x,
                const MutableTensor& y) {
  if (norm.kind == NormWeights::Kind::kRms)
    rms_norm(threads, x, norm.weight.view, static_cast<float>(eps), y);
  else
    layer_norm(threads, x, norm.weight.view, norm.bias.view, static_cast<float>(eps), y);
}

Linear pack(const AffineWeights& map, const ModelOptions& options) {
  return options.weights ? Linear(map.weight.view, map.bias.view, *options.weights)
                         : Linear(map.weight.view, map.bias.view);
}

Activations Activations::carve(const ModelConfig& config, std::int64_t tokens, Scratch& scratch) {
  const auto take_all = [&](Carver& carver) {
    const auto take = [&](std::int64_t width) {
      return MutableTensor(carver.take<float>(tokens * width), {1, 1, tokens, width});
    };
    const std::int64_t width = config.hidden_size, mlp_width = config.intermediate_size;
    return Activations{take(width), take(width), take(width), take(mlp_width), take(mlp_width)};
  };
  Carver measure;
  take_all(measure);
  Carver carver(scratch.reserve(measure.bytes()));
  return take_all(carver);
}

StepPlans::StepPlans(const DecoderStep& step) : threads_(step.threads) {
  for (const DecoderSequence& part : step.sequences)
    sequences_.push_back({part.sequence, part.tokens});
}

const BatchPlan& StepPlans::plan(const MultiHeadAttention& attention, const LayerConfig& layer,
                                 const MultiHeadAttention::BatchInputs& inputs) {
  for (const Made& made : made_)
    if (same_problem(made.layer, layer)) return made.plan;
  made_.push_back({layer, attention.plan(threads_, inputs)});
  return made_.back().plan;
}

const Plan& StepPlans::cross_plan(const MultiHeadAttention& attention,
                                  const MultiHeadAttention::Inputs& inputs) {
  if (!cross_) cross_ = make_plan(attention.problem(inputs), threads_, KvSource::kCache);
  return *cross_;
}

std::int64_t StepPlans::prefixes() const {
  std::int64_t most = 0;
  for (const Made& made : made_)
    most = std::max<std::int64_t>(most, std::ssize(made.plan.prefixes()));
  return most;
}

DecoderBlock::DecoderBlock(const ModelConfig& config, std::int64_t layer, BlockWeights w,
                           const ModelOptions& options, BlockKind kind)
    : layer_(layer),
      config_(config.layers[static_cast<std::size_t>(layer)]),
      norm_eps_(config.rms_norm_eps),
      parallel_(config.use_parallel_residual),
      activation_(config.hidden_act),
      attention_in_(std::move(w.attention_in)),
      attention_out_(std::move(w.attention_out)),
      attention_sum_(std::move(w.attention_sum)),
      cross_in_(std::move(w.cross_in)),
      cross_sum_(std::move(w.cross_sum)),
      mlp_in_(std::move(w.mlp_in)),
      mlp_out_(std::move(w.mlp_out)),
      mlp_sum_(std::move(w.mlp_sum)),
      attention_(make_attention(config, config_, w, options, kind)),
      gate_(pack(w.gate, options)),
      down_(pack(w.down, options)) {
  if (w.up) up_ = pack(w.up, options);
  if (w.cross_q) cross_ = make_cross_attention(config, config_, w, options);
}

void DecoderBlock::run(const DecoderStep& step, StepPlans& plans, const Activations& a) const {
  const Threads& threads = step.threads;
  const auto normed = [&](const NormWeights& norm) {
    if (!norm) return a.x;
    apply_norm(threads, norm, norm_eps_, a.x, a.normed);
    return a.normed;
  };
  const auto add_change = [&](const NormWeights& norm, const NormWeights& norm_of_sum) {
    if (norm) apply_norm(threads, norm, norm_eps_, a.change, a.change);
    add(threads, a.x, a.change);
    if (norm_of_sum) apply_norm(threads, norm_of_sum, norm_eps_, a.x, a.x);
  };
  attend(step, plans, normed(attention_in_), a.change);
  if (parallel_) {
    const MutableTensor read = normed(mlp_in_);  // before attention is added
    add_change(attention_out_, attention_sum_);
    run_mlp(step, read, a);
  } else {
    add_change(attention_out_, attention_sum_);
    if (cross_) {
      attend_memory(step, plans, normed(cross_in_), a.change);
      add_change({}, cross_sum_);
    }
    run_mlp(step, normed(mlp_in_), a);
  }
  add_change(mlp_out_, mlp_sum_);
}

void DecoderBlock::attend(const DecoderStep& step, StepPlans& plans, const MutableTensor& x,
                          const MutableTensor& y) const {
  const MultiHeadAttention::BatchInputs inputs{x, plans.sequences(), step.cache, layer_,
                                               step.rotary_length};
  const BatchPlan& plan = plans.plan(attention_, config_, inputs);
  MultiHeadAttention::Outputs outputs;
  outputs.y = y;
  std::function<void(const MutableTensor&)> edit;
  if (step.interventions != nullptr) {
    const std::int64_t sequence = step.sequences.front().sequence;
    edit = [&, first = step.cache.length(sequence) - x.extents[2]](const MutableTensor& o) {
      step.interventions->apply(layer_, first, o);
    };
    outputs.edit = &edit;
  }
  if (step.observer == nullptr)
    attention_(step.threads, plan, inputs, step.workspace, outputs);
  else
    attend_observed(step, plan, inputs, outputs);
}

void DecoderBlock::attend_observed(const DecoderStep& step, const BatchPlan& plan,
                                   const MultiHeadAttention::BatchInputs& inputs,
                                   MultiHeadAttention::Outputs outputs) const {
  const Plan& only = plan.parts().front().plan;
  const Problem& p = only.problem();
  const Buffer q({p.batch, p.q_tokens, p.q_heads, p.head_dim}),
      o({p.batch, p.q_tokens, p.q_heads, p.value_dim()});
  outputs.queries = q.view;
  outputs.heads = o.view;
  attention_(step.threads, plan, inputs, step.workspace, outputs);
  (*step.observer)(
      {inputs.layer, only, inputs.cache, inputs.sequences.front().sequence, q.view, o.view});
}

DenseKvCache DecoderBlock::project(const Threads& threads, const ConstTensor& memory, DType dtype,
                                   MultiHeadAttention::Workspace& workspace) const {
  DenseKvCache cache = cross_->make_cache(1, memory.extents[2], dtype);
  cross_->append(threads, memory, cache, workspace);
  return cache;
}

void DecoderBlock::attend_memory(const DecoderStep& step, StepPlans& plans, const MutableTensor& x,
                                 const MutableTensor& y) const {
  MultiHeadAttention::Inputs inputs;
  inputs.x = x;
  inputs.cache = &step.memory[static_cast<std::size_t>(layer_)];
  MultiHeadAttention::Outputs outputs;
  outputs.y = y;
  (*cross_)(step.threads, plans.cross_plan(*cross_, inputs), inputs, step.workspace, outputs);
}

void DecoderBlock::run_mlp(const DecoderStep& step, const MutableTensor& x,
                           const Activations& a) const {
  gate_(step.threads, x, a.gate, step.workspace.kernels);
  if (up_) {
    (*up_)(step.threads, x, a.up, step.workspace.kernels);
    activate_gated(step.threads, activation_, a.gate, a.up, a.gate);
  } else {
    activate(step.threads, activation_, a.gate, a.gate);
  }
  down_(step.threads, a.gate, a.change, step.workspace.kernels);
}

}  // namespace rapt
