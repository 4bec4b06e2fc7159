#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/carver.h"
#include "base/check.h"
#include "base/rows.h"
#include "rapt/layer.h"
#include "rapt/norm.h"
#include "rapt/rotary_append.h"

namespace rapt {
namespace {

using Config = MultiHeadAttention::Config;
using Inputs = MultiHeadAttention::Inputs;

Config with_defaults(Config c) {
  require(c.model_dim > 0, ErrorCode::kBadArgument, "Config.model_dim", "a positive number",
          c.model_dim);
  require(c.q_heads > 0, ErrorCode::kBadArgument, "Config.q_heads", "a positive number", c.q_heads);
  if (c.memory_dim == 0) c.memory_dim = c.model_dim;
  if (c.kv_heads == 0) c.kv_heads = c.q_heads;
  require(c.kv_heads > 0 && c.q_heads % c.kv_heads == 0, ErrorCode::kBadArgument, "Config.q_heads",
          "a multiple of kv_heads (" + std::to_string(c.kv_heads) + ")", c.q_heads);
  if (c.head_dim == 0) {
    require(c.model_dim % c.q_heads == 0, ErrorCode::kBadArgument, "Config.model_dim",
            "a multiple of q_heads (" + std::to_string(c.q_heads) + ") where head_dim is not given",
            c.model_dim);
    c.head_dim = c.model_dim / c.q_heads;
  }
  if (c.v_head_dim == 0) c.v_head_dim = c.head_dim;
  require(c.norm_eps >= 0 && std::isfinite(c.norm_eps), ErrorCode::kBadArgument, "Config.norm_eps",
          "a finite number, 0 or more", c.norm_eps);
  require(!c.modifiers.additive_bias, ErrorCode::kBadArgument, "Config.modifiers.additive_bias",
          "false", c.modifiers.additive_bias);
  require(!c.rotary || c.rotary->dims() <= c.head_dim, ErrorCode::kBadArgument, "Config.rotary",
          "at most head_dim (" + std::to_string(c.head_dim) + ") dims",
          c.rotary ? c.rotary->dims() : 0);
  return c;
}

template <class View>
void check_extents(const View& view, const Dims& expected, const std::string& where) {
  require(view.extents == expected, ErrorCode::kBadShape, where, expected, view.extents);
}

Linear projection(const Config& config, const char* name, const AnyConstTensor& weight,
                  const ConstTensor& bias, std::int64_t outputs, std::int64_t inputs) {
  check_extents(weight, {1, 1, outputs, inputs}, std::string("Weights.") + name);
  if (bias.data != nullptr)
    check_extents(bias, {1, 1, 1, outputs}, std::string("Weights.") + name + "_bias");
  return config.weight_type ? Linear(weight, bias, *config.weight_type) : Linear(weight, bias);
}

/// A norm's weight: that of one head, or of `heads` side by side.
std::vector<float> norm_weight(const ConstTensor& weight, const char* name, std::int64_t heads,
                               std::int64_t head_dim) {
  if (weight.data == nullptr) return {};
  const std::int64_t size = weight.extents[3];
  require(weight.extents == Dims{1, 1, 1, size} && (size == head_dim || size == heads * head_dim),
          ErrorCode::kBadShape, std::string("Weights.") + name,
          "[1, 1, 1, " + std::to_string(head_dim) + "] or [1, 1, 1, " +
              std::to_string(heads * head_dim) + "]",
          weight.extents);
  std::vector<float> values;
  for (std::int64_t e = 0; e < size; ++e) values.push_back(weight.at(0, 0, 0, e));
  return values;
}

/// Norms heads side by side, [1, B, T, H D], in place: each, or all as one row.
void norm_heads(const Threads& threads, const MutableTensor& x, std::int64_t heads,
                const std::vector<float>& weight, float eps) {
  if (weight.empty()) return;
  const std::int64_t size = std::ssize(weight);
  const MutableTensor rows = size == x.extents[3] ? x : split_heads(x, heads);
  rms_norm(threads, rows, {weight.data(), {1, 1, 1, size}}, eps, rows);
}

/// The table of these positions, in its place among the others.
const RotaryTable& rotary_table(const Rotary& rotary, const std::vector<std::int64_t>& positions,
                                const std::vector<std::int64_t>& lengths,
                                std::vector<RotaryTable>& tables) {
  auto table = std::ranges::find(tables, rotary.config(), &RotaryTable::config);
  if (table == tables.end()) table = tables.insert(tables.end(), RotaryTable());
  rotary.update(positions, lengths, *table);
  return *table;
}

/// `count` outputs of a weight, or of a bias.
AnyConstTensor slice(const AnyConstTensor& weight, std::int64_t first, std::int64_t count) {
  if (weight.data == nullptr) return {};
  return {weight.address(0, 0, first, 0),
          weight.dtype,
          {1, 1, count, weight.extents[3]},
          weight.strides};
}
ConstTensor slice(const ConstTensor& bias, std::int64_t first, std::int64_t count) {
  if (bias.data == nullptr) return {};
  return {bias.data + first * bias.strides[3], {1, 1, 1, count}, bias.strides};
}

/// Head h of [B, T, H, N], as [1, B, T, N].
template <class T>
TensorView<T> head(const TensorView<T>& x, std::int64_t h) {
  return {x.data + h * x.strides[2],
          {1, x.extents[0], x.extents[1], x.extents[3]},
          {0, x.strides[0], x.strides[1], x.strides[3]}};
}

void copy(const ConstTensor& from, const MutableTensor& to) {
  for (std::int64_t row = 0; row < row_count(from.extents); ++row)
    for (std::int64_t e = 0; e < from.extents[3]; ++e)
      row_of(to, row)[e * to.strides[3]] = row_of(from, row)[e * from.strides[3]];
}

/// Contiguous tensors of these extents, one after the other in `scratch`.
template <std::size_t kCount>
std::array<MutableTensor, kCount> carve(Scratch& scratch, const Dims (&extents)[kCount]) {
  std::array<MutableTensor, kCount> tensors;
  const auto take_all = [&](Carver carver) {
    for (std::size_t n = 0; n < kCount; ++n) {
      const Dims& e = extents[n];
      tensors[n] = MutableTensor(carver.take<float>(row_count(e) * e[3]), e);
    }
    return carver.bytes();
  };
  take_all(Carver(scratch.reserve(take_all(Carver()))));
  return tensors;
}

/// What one call computes on its way: q, k, v and o of all heads side by side, and in native bf16 room
/// for q, k and v rounded. Keys and values have no tokens where a cache has them.
struct Activations {
  MutableTensor q, k, v, o, half_q, half_k, half_v;
};

/// @shape  widths [3], of q, k and v
Activations activations(const Problem& p, const Inputs& inputs,
                        const std::array<std::int64_t, 3>& widths, Scratch& scratch) {
  const std::int64_t kv_tokens = inputs.cache == nullptr ? p.kv_tokens : 0;
  const auto whole = [&](std::int64_t tokens, std::int64_t width) {
    return Dims{1, p.batch, tokens, width};
  };
  const auto half = [&](std::int64_t tokens, std::int64_t width) {
    return whole(p.arithmetic == Arithmetic::kNativeBF16 ? tokens : 0, (width + 1) / 2);
  };
  const auto [q, k, v, o, half_q, half_k, half_v] =
      carve(scratch,
            {whole(p.q_tokens, widths[0]), whole(kv_tokens, widths[1]), whole(kv_tokens, widths[2]),
             whole(p.q_tokens, p.q_heads * p.value_dim()), half(p.q_tokens, widths[0]),
             half(kv_tokens, widths[1]), half(kv_tokens, widths[2])});
  return {q, k, v, o, half_q, half_k, half_v};
}

/// The sequence of the cache that each of the batch attends to.
/// @throws Error{kBadShape, kBadArgument} unless there is one.
std::vector<std::int64_t> cache_sequences(const Inputs& inputs, std::int64_t batch) {
  const std::int64_t present = inputs.cache->shape().batch;
  if (inputs.sequences.empty()) {
    require(present == batch, ErrorCode::kBadShape, "MultiHeadAttention.cache",
            std::to_string(batch) + " sequences", present);
    std::vector<std::int64_t> all(static_cast<std::size_t>(batch));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }
  require(std::ssize(inputs.sequences) == batch, ErrorCode::kBadShape,
          "MultiHeadAttention.sequences", "none, or one for each of " + std::to_string(batch),
          inputs.sequences.size());
  for (const std::int64_t sequence : inputs.sequences)
    require(inputs.cache->has(sequence), ErrorCode::kBadArgument, "MultiHeadAttention.sequences",
            "0 to " + std::to_string(present - 1), sequence);
  return {inputs.sequences.begin(), inputs.sequences.end()};
}

/// Contiguous heads as attention takes them: in native bf16 rounded, in their place and in `room`.
AnyConstTensor stored(const Threads& threads, Arithmetic arithmetic, const MutableTensor& heads,
                      const MutableTensor& room) {
  if (arithmetic != Arithmetic::kNativeBF16) return heads;
  BF16* to = reinterpret_cast<BF16*>(room.data);
  const std::int64_t width = heads.extents[2] * heads.extents[3];
  for_rows(threads, heads.extents[0] * heads.extents[1], 16,
           [&](std::int64_t first, std::int64_t end) {
             for (std::int64_t n = first * width; n < end * width; ++n) {
               to[n] = to_bf16(heads.data[n]);
               heads.data[n] = to_float(to[n]);
             }
           });
  return {to, DType::kBF16, heads.extents};
}

/// The angles of [B, T, H, D], token (b, t) at position(b, t) of a sequence made for length(b).
template <class Position, class Length>
const RotaryTable& angles_of(const Rotary& rotary, const Dims& x,
                             MultiHeadAttention::Workspace& workspace, Position&& position,
                             Length&& length) {
  std::vector<std::int64_t> positions, lengths;
  positions.reserve(x[0] * x[1]);
  lengths.reserve(x[0]);
  for (std::int64_t b = 0; b < x[0]; ++b) {
    lengths.push_back(length(b));
    for (std::int64_t t = 0; t < x[1]; ++t) positions.push_back(position(b, t));
  }
  return rotary_table(rotary, positions, lengths, workspace.rotary);
}

/// Turns them in place.
template <class Position, class Length>
void rotate(const Threads& threads, const Config& config, const MutableTensor& x,
            MultiHeadAttention::Workspace& workspace, Position&& position, Length&& length) {
  if (!config.rotary) return;
  apply_rotary(threads, angles_of(*config.rotary, x.extents, workspace, position, length), x, x);
}

/// The slots of a batch's tokens.
std::vector<std::int64_t> slots_of(const MultiHeadAttention::BatchInputs& inputs) {
  std::vector<std::int64_t> slots;
  for (const MultiHeadAttention::BatchSequence& part : inputs.sequences) {
    const std::int64_t length = inputs.cache.length(part.sequence);
    for (std::int64_t slot = length - part.tokens; slot < length; ++slot) slots.push_back(slot);
  }
  return slots;
}

/// Tokens [first, first + count) of [1, tokens, H, D].
MutableTensor tokens_of(const MutableTensor& x, std::int64_t first, std::int64_t count) {
  return {&x.at(0, first, 0, 0), {1, count, x.extents[2], x.extents[3]}, x.strides};
}

/// @throws Error{kBadArgument} unless the cache has the sequences with their tokens, `expected` in all
/// if that is not negative.
void check_sequences(const MultiHeadAttention::BatchInputs& inputs, std::int64_t expected = -1) {
  std::int64_t tokens = 0;
  for (const auto& part : inputs.sequences) {
    const std::int64_t length =
        inputs.cache.has(part.sequence) ? inputs.cache.length(part.sequence) : 0;
    if (part.tokens < 0 || part.tokens > length || !inputs.cache.has(part.sequence))
      require(
          false, ErrorCode::kBadArgument, "MultiHeadAttention.sequences",
          "0 to " + std::to_string(length) + " tokens of sequence " + std::to_string(part.sequence),
          part.tokens);
    tokens += part.tokens;
  }
  require(expected < 0 || tokens == expected, ErrorCode::kBadArgument,
          "MultiHeadAttention.sequences", "the plan's tokens", tokens);
}

}  // namespace

MultiHeadAttention::Weights MultiHeadAttention::split_fused(const Config& config,
                                                            const AnyConstTensor& weight,
                                                            const ConstTensor& bias) {
  const Config c = with_defaults(config);
  const std::int64_t q = c.q_heads * c.head_dim, k = c.kv_heads * c.head_dim,
                     v = c.kv_heads * c.v_head_dim;
  check_extents(weight, {1, 1, q + k + v, c.model_dim}, "split_fused.weight");
  if (bias.data != nullptr) check_extents(bias, {1, 1, 1, q + k + v}, "split_fused.bias");
  Weights weights;
  weights.q = slice(weight, 0, q);
  weights.k = slice(weight, q, k);
  weights.v = slice(weight, q + k, v);
  weights.q_bias = slice(bias, 0, q);
  weights.k_bias = slice(bias, q, k);
  weights.v_bias = slice(bias, q + k, v);
  return weights;
}

MultiHeadAttention::MultiHeadAttention(const Config& config, const Weights& w)
    : config_(with_defaults(config)),
      q_(projection(config_, "q", w.q, w.q_bias, config_.q_heads * config_.head_dim,
                    config_.model_dim)),
      k_(projection(config_, "k", w.k, w.k_bias, config_.kv_heads * config_.head_dim,
                    config_.memory_dim)),
      v_(projection(config_, "v", w.v, w.v_bias, config_.kv_heads * config_.v_head_dim,
                    config_.memory_dim)),
      o_(projection(config_, "o", w.o, w.o_bias, config_.model_dim,
                    config_.q_heads * config_.v_head_dim)),
      q_norm_(norm_weight(w.q_norm, "q_norm", config_.q_heads, config_.head_dim)),
      k_norm_(norm_weight(w.k_norm, "k_norm", config_.kv_heads, config_.head_dim)) {}

DenseKvCache MultiHeadAttention::make_cache(std::int64_t batch, std::int64_t capacity,
                                            DType dtype) const {
  return DenseKvCache(
      {batch, config_.kv_heads, config_.head_dim, config_.v_head_dim, capacity, dtype});
}

/// All but the extents of tokens.
Problem MultiHeadAttention::shared_problem() const {
  Problem p;
  p.q_heads = config_.q_heads;
  p.kv_heads = config_.kv_heads;
  p.head_dim = config_.head_dim;
  p.v_head_dim = config_.v_head_dim;
  p.arithmetic = config_.arithmetic;
  if (p.arithmetic == Arithmetic::kNativeBF16)
    p.storage.q = p.storage.k = p.storage.v = DType::kBF16;
  p.mask = config_.mask;
  p.modifiers = config_.modifiers;
  p.scale = config_.scale;
  return p;
}

Problem MultiHeadAttention::problem(const Inputs& inputs) const {
  const Dims& x = inputs.x.extents;
  check_extents(inputs.x, {1, x[1], x[2], config_.model_dim}, "MultiHeadAttention.x");
  Problem p = shared_problem();
  p.batch = x[1];
  p.q_tokens = x[2];
  p.q_ranges = inputs.x_ranges;
  require(inputs.cache != nullptr || inputs.sequences.empty(), ErrorCode::kBadArgument,
          "MultiHeadAttention.sequences", "none without a cache", inputs.sequences.size());
  if (inputs.cache != nullptr) {
    require(inputs.memory.data == nullptr, ErrorCode::kBadArgument, "MultiHeadAttention.memory",
            "none beside a cache", inputs.memory.extents);
    p.storage.k = p.storage.v = inputs.cache->shape().dtype;
    for (const std::int64_t sequence : cache_sequences(inputs, p.batch)) {
      p.kv_ranges.push_back({0, inputs.cache->length(sequence)});
      p.kv_tokens = std::max(p.kv_tokens, inputs.cache->length(sequence));
    }
  } else if (inputs.memory.data != nullptr) {
    const std::int64_t tokens = inputs.memory.extents[2];
    check_extents(inputs.memory, {1, p.batch, tokens, config_.memory_dim},
                  "MultiHeadAttention.memory");
    p.kv_tokens = tokens;
    p.kv_ranges = inputs.memory_ranges;
  } else {
    check_extents(inputs.x, {1, x[1], x[2], config_.memory_dim}, "MultiHeadAttention.x");
    p.kv_tokens = p.q_tokens;
    p.kv_ranges = inputs.x_ranges;
  }
  return p;
}

void MultiHeadAttention::append(const Threads& threads, const ConstTensor& c, DenseKvCache& cache,
                                Workspace& workspace) const {
  const std::int64_t batch = cache.shape().batch, tokens = c.extents[2];
  check_extents(c, {1, batch, tokens, config_.memory_dim}, "MultiHeadAttention.append");
  const auto [k, v] = carve(workspace.activations,
                            {{1, batch, tokens, k_.outputs()}, {1, batch, tokens, v_.outputs()}});
  k_(threads, c, k, workspace.kernels);
  v_(threads, c, v, workspace.kernels);
  norm_heads(threads, k, config_.kv_heads, k_norm_, config_.norm_eps);
  const MutableTensor k_heads = split_heads(k, config_.kv_heads),
                      v_heads = split_heads(v, config_.kv_heads);
  if (!config_.rotary) return cache.append(k_heads, v_heads);
  const RotaryTable& table = angles_of(
      *config_.rotary, k_heads.extents, workspace,
      [&](std::int64_t b, std::int64_t t) { return cache.length(b) + t; },
      [&](std::int64_t) { return cache.shape().capacity; });
  append_rotary(table, k_heads, v_heads, cache);
}

void MultiHeadAttention::operator()(const Threads& threads, const Inputs& inputs,
                                    Workspace& workspace, const Outputs& outputs) const {
  const KvSource source = inputs.cache == nullptr ? KvSource::kTensors : KvSource::kCache;
  (*this)(threads, make_plan(problem(inputs), threads, source), inputs, workspace, outputs);
}

void MultiHeadAttention::operator()(const Threads& threads, const Plan& plan, const Inputs& inputs,
                                    Workspace& workspace, const Outputs& outputs) const {
  const Problem& p = plan.problem();
  const ConstTensor& c = inputs.memory.data == nullptr ? inputs.x : inputs.memory;
  check_extents(inputs.x, {1, p.batch, p.q_tokens, config_.model_dim}, "MultiHeadAttention.x");
  const Activations a =
      activations(p, inputs, {q_.outputs(), k_.outputs(), v_.outputs()}, workspace.activations);
  const MutableTensor q = split_heads(a.q, config_.q_heads), k = split_heads(a.k, config_.kv_heads),
                      v = split_heads(a.v, config_.kv_heads), o = split_heads(a.o, config_.q_heads);
  const auto length = [&](std::int64_t b) {
    return inputs.cache == nullptr ? p.kv_range(b).size() : inputs.cache->shape().capacity;
  };
  q_(threads, inputs.x, a.q, workspace.kernels);
  norm_heads(threads, a.q, config_.q_heads, q_norm_, config_.norm_eps);
  rotate(
      threads, config_, q, workspace,
      [&](std::int64_t b, std::int64_t t) { return p.q_position(b, t); }, length);
  if (inputs.cache == nullptr) {
    k_(threads, c, a.k, workspace.kernels);
    v_(threads, c, a.v, workspace.kernels);
    norm_heads(threads, a.k, config_.kv_heads, k_norm_, config_.norm_eps);
    rotate(
        threads, config_, k, workspace,
        [&](std::int64_t b, std::int64_t t) { return t - p.kv_range(b).begin; }, length);
  }
  const auto as_stored = [&](const MutableTensor& heads, const MutableTensor& room) {
    return stored(threads, p.arithmetic, heads, room);
  };
  run(plan,
      {as_stored(q, a.half_q),
       as_stored(k, a.half_k),
       as_stored(v, a.half_v),
       inputs.cache,
       {},
       inputs.sequences},
      workspace.kernels, {o, outputs.lse, {}, {}});
  if (outputs.edit != nullptr) (*outputs.edit)(o);
  o_(threads, a.o, outputs.y, workspace.kernels);
  write_heads(threads, q, o, workspace, outputs);
}

BatchPlan MultiHeadAttention::plan(const Threads& threads, const BatchInputs& inputs) const {
  std::vector<BatchEntry> entries;
  check_sequences(inputs);
  for (const BatchSequence& part : inputs.sequences) {
    const std::int64_t length = inputs.cache.length(part.sequence);
    entries.push_back({part.sequence, part.tokens, length, config_.mask});
  }
  return make_batch_plan(shared_problem(), threads, inputs.cache.layer(inputs.layer), entries);
}

void MultiHeadAttention::operator()(const Threads& threads, const BatchPlan& plan,
                                    const BatchInputs& inputs, Workspace& workspace,
                                    const Outputs& outputs) const {
  const std::int64_t tokens = plan.q_tokens();
  check_sequences(inputs, tokens);
  check_extents(inputs.x, {1, 1, tokens, config_.model_dim}, "MultiHeadAttention.x");
  check_extents(inputs.x, {1, 1, tokens, config_.memory_dim}, "MultiHeadAttention.x");
  const bool native = config_.arithmetic == Arithmetic::kNativeBF16;
  const auto [flat_q, flat_k, flat_v, flat_o, half_q] =
      carve(workspace.activations, {{1, 1, tokens, q_.outputs()},
                                    {1, 1, tokens, k_.outputs()},
                                    {1, 1, tokens, v_.outputs()},
                                    {1, 1, tokens, o_.inputs()},
                                    {1, 1, native ? tokens : 0, (q_.outputs() + 1) / 2}});
  const MutableTensor q = split_heads(flat_q, config_.q_heads),
                      k = split_heads(flat_k, config_.kv_heads),
                      v = split_heads(flat_v, config_.kv_heads),
                      o = split_heads(flat_o, config_.q_heads);
  q_(threads, inputs.x, flat_q, workspace.kernels);
  k_(threads, inputs.x, flat_k, workspace.kernels);
  v_(threads, inputs.x, flat_v, workspace.kernels);
  norm_heads(threads, flat_q, config_.q_heads, q_norm_, config_.norm_eps);
  norm_heads(threads, flat_k, config_.kv_heads, k_norm_, config_.norm_eps);
  const RotaryTable* table = nullptr;
  if (config_.rotary) {
    table =
        &rotary_table(*config_.rotary, slots_of(inputs), {inputs.rotary_length}, workspace.rotary);
    apply_rotary(threads, *table, q, q);
  }
  std::int64_t first = 0;
  for (const BatchSequence& part : inputs.sequences) {
    const std::int64_t slot = inputs.cache.length(part.sequence) - part.tokens;
    const MutableTensor keys = tokens_of(k, first, part.tokens),
                        values = tokens_of(v, first, part.tokens);
    if (table != nullptr)
      store_rotary(*table, first, keys, values, inputs.cache, inputs.layer, part.sequence, slot);
    else
      inputs.cache.store(inputs.layer, part.sequence, slot, keys, values);
    first += part.tokens;
  }
  run(plan, stored(threads, config_.arithmetic, q, half_q), inputs.cache.layer(inputs.layer),
      workspace.kernels, {o, outputs.lse, {}, {}});
  if (outputs.edit != nullptr) (*outputs.edit)(o);
  o_(threads, flat_o, outputs.y, workspace.kernels);
  write_heads(threads, q, o, workspace, outputs);
}

void MultiHeadAttention::write_heads(const Threads& threads, const ConstTensor& q,
                                     const ConstTensor& o, Workspace& workspace,
                                     const Outputs& outputs) const {
  if (outputs.queries.data != nullptr) {
    check_extents(outputs.queries, q.extents, "MultiHeadAttention.queries");
    copy(q, outputs.queries);
  }
  if (outputs.heads.data != nullptr) {
    check_extents(outputs.heads, o.extents, "MultiHeadAttention.heads");
    copy(o, outputs.heads);
  }
  if (outputs.contributions.data == nullptr) return;
  check_extents(outputs.contributions,
                {o.extents[0], o.extents[1], o.extents[2], config_.model_dim},
                "MultiHeadAttention.contributions");
  for (std::int64_t h = 0; h < config_.q_heads; ++h)
    o_.partial(threads, h * config_.v_head_dim, head(o, h), head(outputs.contributions, h),
               workspace.kernels);
}

}  // namespace rapt
