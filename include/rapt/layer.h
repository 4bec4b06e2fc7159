#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "rapt/attention.h"
#include "rapt/batch.h"
#include "rapt/linear.h"
#include "rapt/paged_kv_cache.h"
#include "rapt/rotary.h"

namespace rapt {

/// The heads of a projection, as a view: [1, B, T, H D] becomes [B, T, H, D].
/// @throws Error{kBadShape} unless the first extent is 1 and the last a multiple of `heads`.
ConstTensor split_heads(const ConstTensor& x, std::int64_t heads);
MutableTensor split_heads(const MutableTensor& x, std::int64_t heads);

/// The concatenation of heads, as a view: [B, T, H, D] becomes [1, B, T, H D].
/// @throws Error{kBadShape} unless heads follow each other: stride of H = D times the stride of D.
ConstTensor merge_heads(const ConstTensor& x);
MutableTensor merge_heads(const MutableTensor& x);

/// Multi-head attention with its projections.
///
///     q = x W_Q^T + b_Q    k = c W_K^T + b_K    v = c W_V^T + b_V       (c = x, or a memory)
///     q = rms_norm(q)   k = rms_norm(k)   where there are norms: of each head, or of all as one row
///     o_h = attention(rotary(q_h), rotary(k_g), v_g),   g = h / (Hq / Hkv)
///     y = concat_h(o_h) W_O^T + b_O = b_O + sum_h o_h W_O[:, h]^T
///
/// Self-attention, cross-attention (`Inputs::memory`) and both against a cache; multi-head,
/// grouped-query and multi-query heads.
///
/// @source arXiv:1706.03762, 3.2.2; arXiv:2302.05442 (norms of queries and keys)
class MultiHeadAttention {
 public:
  struct Config {
    std::int64_t model_dim = 0;   ///< d, the width of x and y
    std::int64_t memory_dim = 0;  ///< dc, the width of the memory; 0 means model_dim
    std::int64_t q_heads = 1;     ///< Hq
    std::int64_t kv_heads = 0;    ///< Hkv; 0 means q_heads
    std::int64_t head_dim = 0;    ///< D; 0 means model_dim / q_heads
    std::int64_t v_head_dim = 0;  ///< Dv; 0 means D
    Mask mask = Mask::none();     ///< see mask.h
    ScoreModifiers modifiers;     ///< see modifiers.h; no additive bias
    std::optional<float> scale;   ///< default 1 / sqrt(D)
    float norm_eps = 1e-6f;       ///< of the norms of queries and keys
    /// Positions as in problem.h: keys at their slots. The length that its scaling may ask for is
    /// the capacity of the cache, else the number of the sequence's keys that are no padding.
    std::optional<Rotary> rotary;
    std::optional<WeightType> weight_type;  ///< of the projections; default: each as it is given
    /// Of the attention. Native bf16 rounds q, k and v to bf16, and asks for a cache of bf16.
    Arithmetic arithmetic = Arithmetic::kF32;
  };

  /// Weights and biases as a checkpoint has them: rows are outputs. Biases and norms without data
  /// are absent.
  struct Weights {
    AnyConstTensor q;      ///< [1, 1, Hq D, d]
    ConstTensor q_bias;    ///< [1, 1, 1, Hq D]
    AnyConstTensor k;      ///< [1, 1, Hkv D, dc]
    ConstTensor k_bias;    ///< [1, 1, 1, Hkv D]
    AnyConstTensor v;      ///< [1, 1, Hkv Dv, dc]
    ConstTensor v_bias;    ///< [1, 1, 1, Hkv Dv]
    AnyConstTensor o;      ///< [1, 1, d, Hq Dv]
    ConstTensor o_bias;    ///< [1, 1, 1, d]
    ConstTensor q_norm{};  ///< [1, 1, 1, D], of each head, or [1, 1, 1, Hq D], of all as one row
    ConstTensor k_norm{};  ///< [1, 1, 1, D] or [1, 1, 1, Hkv D]
  };

  /// Views of the q, k and v rows of a fused projection, in this order; `o` is left to the caller.
  /// @shape  weight [1, 1, N, d]   bias [1, 1, 1, N] or without data   N = Hq D + Hkv (D + Dv)
  /// @throws Error{kBadShape, kBadArgument} naming the view or field.
  static Weights split_fused(const Config& config, const AnyConstTensor& weight,
                             const ConstTensor& bias = {});

  /// Either a memory, or a cache that `append` has filled, or neither: x attends to itself.
  struct Inputs {
    ConstTensor x;                        ///< [1, B, Tq, d]
    ConstTensor memory;                   ///< [1, B, Tk, dc]
    const DenseKvCache* cache = nullptr;  ///< keys and values of B sequences; lengths may differ
    std::vector<Range> x_ranges;          ///< tokens of x that are not padding; empty: all
    std::vector<Range> memory_ranges;     ///< the same of the memory
    /// [B] of the cache, which may then have any number of them; empty: b of b. Several may be one:
    /// beams that attend to the same memory.
    std::span<const std::int64_t> sequences{};
  };

  /// A sequence's part of a batch: the last `tokens` of those that a paged cache has of it.
  struct BatchSequence {
    std::int64_t sequence = 0;
    std::int64_t tokens = 0;
  };

  /// Self-attention of many sequences against one layer of a paged cache, which has room for x's
  /// tokens already (PagedKvCache::extend).
  struct BatchInputs {
    ConstTensor x;  ///< [1, 1, sum T, d], the sequences' tokens one after the other
    std::span<const BatchSequence> sequences;
    PagedKvCache& cache;
    std::int64_t layer = 0;
    std::int64_t rotary_length = 0;  ///< that rotary scaling may ask for, of every sequence
  };

  /// `y` is required; the others are written where `data` is set. Of a batch B = 1, Tq = sum T.
  struct Outputs {
    MutableTensor y;      ///< [1, B, Tq, d]
    MutableTensor heads;  ///< o_h [B, Tq, Hq, Dv]
    /// o_h W_O[:, h]^T [B, Tq, Hq, d]: with b_O they sum to y within rounding.
    MutableTensor contributions;
    MutableTensor lse;        ///< [1, B, Hq, Tq]
    MutableTensor queries{};  ///< q_h as attention reads it, rotated [B, Tq, Hq, D]
    /// Called with o_h [B, Tq, Hq, Dv] before W_O, to change it: y, heads and contributions are then
    /// of what it leaves. Optional.
    const std::function<void(const MutableTensor& o)>* edit = nullptr;
  };

  /// Working memory that the caller keeps between calls; one for each call in flight.
  struct Workspace {
    Scratch activations, kernels;
    /// Of the last tokens, one for each kind of rotary positions: the next layer's are among them.
    std::vector<RotaryTable> rotary;
  };

  /// Packs the weights.
  /// @throws Error{kBadArgument} naming the field of `config`; Error{kBadShape} naming the weight.
  MultiHeadAttention(const Config& config, const Weights& weights);

  /// `config` with its defaults filled in.
  const Config& config() const { return config_; }

  /// A cache of the right shape for `batch` sequences of up to `capacity` tokens.
  DenseKvCache make_cache(std::int64_t batch, std::int64_t capacity,
                          DType dtype = DType::kF32) const;

  /// The attention that a call on `inputs` solves; for `make_plan`, once for all layers of a model.
  /// @throws Error{kBadShape} naming the view.
  Problem problem(const Inputs& inputs) const;

  /// Projects the keys and values of `c` and appends them to `cache`, rotated to their slots.
  ///
  /// Self-attention with a cache is append(x), then a call on {x, cache}. A memory is appended
  /// only once.
  /// @shape  c [1, B, T, dc]
  /// @throws Error{kBadShape}; Error{kBadArgument} as DenseKvCache::append.
  void append(const Threads& threads, const ConstTensor& c, DenseKvCache& cache,
              Workspace& workspace) const;

  /// Runs the layer. The second form takes a plan made from `problem(inputs)`.
  /// @throws Error{kBadShape, kBadArgument} naming the view or field.
  void operator()(const Threads& threads, const Inputs& inputs, Workspace& workspace,
                  const Outputs& outputs) const;
  void operator()(const Threads& threads, const Plan& plan, const Inputs& inputs,
                  Workspace& workspace, const Outputs& outputs) const;

  /// The attention that a call on `inputs` solves, once for all layers of a model.
  /// @throws Error{kBadArgument} if the cache has not such a sequence, or fewer tokens of it.
  BatchPlan plan(const Threads& threads, const BatchInputs& inputs) const;

  /// Runs the layer on a batch: stores the tokens' keys and values, then attends to all that are
  /// stored. Every row has the bits that its sequence has alone. `plan` is that of `inputs`.
  /// @throws Error{kBadShape, kBadArgument} naming the view or field.
  void operator()(const Threads& threads, const BatchPlan& plan, const BatchInputs& inputs,
                  Workspace& workspace, const Outputs& outputs) const;

 private:
  Problem shared_problem() const;
  void write_heads(const Threads& threads, const ConstTensor& q, const ConstTensor& o,
                   Workspace& workspace, const Outputs& outputs) const;

  Config config_;
  Linear q_, k_, v_, o_;
  std::vector<float> q_norm_, k_norm_;
};

}  // namespace rapt
