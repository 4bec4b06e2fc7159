#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "rapt/arithmetic.h"
#include "rapt/dtype.h"
#include "rapt/mask.h"
#include "rapt/modifiers.h"

namespace rapt {

/// Element types of a problem's tensors; of a cache that of k and v, which are then the same. They
/// are widened exactly and o is rounded once: scores, sums and accumulators are f32 for all of them,
/// unless `Problem::arithmetic` is another.
struct Storage {
  DType q = DType::kF32, k = DType::kF32, v = DType::kF32, o = DType::kF32;

  static constexpr Storage all(DType dtype) { return {dtype, dtype, dtype, dtype}; }

  bool operator==(const Storage&) const = default;
};

/// One attention problem: extents, heads, scale, mask, modifiers, positions and storage types. A
/// value; it holds no tensor.
///
///     o_i = sum_j p_ij v_j,   p_ij = exp(s_ij - lse_i) over the visible keys j,
///     s_ij = scale q_i.k_j, changed by the modifiers
///
/// @shape  q [B, Tq, Hq, D]   k [B, Tk, Hkv, D]   v [B, Tk, Hkv, Dv]
///         o [B, Tq, Hq, Dv]   lse [1, B, Hq, Tq]
///
/// Query head h reads key/value head h / (Hq / Hkv): multi-head (Hkv = Hq), grouped-query and
/// multi-query (Hkv = 1) attention are one formula.
///
/// Padding. `q_ranges[b]` and `kv_ranges[b]` are the tokens of sequence b that are not padding,
/// left or right; empty vectors mean all of them. A key's *slot* is its index within its range, and
/// a query's *place* is kv tokens - q tokens + its index within its range: the last query meets the
/// last key (bottom-right). With more queries than keys the first places are negative. A padded
/// query and a query whose keys are all hidden give o = 0 and lse = -inf (or the sink).
///
/// Positions are slots and places unless given by token, padding included: one list for all
/// sequences, or one after the other. They feed masks by position, ALiBi and relative bias.
struct Problem {
  std::int64_t batch = 1;                    ///< B
  std::int64_t q_tokens = 0;                 ///< Tq
  std::int64_t kv_tokens = 0;                ///< Tk
  std::int64_t q_heads = 1;                  ///< Hq, a multiple of kv_heads
  std::int64_t kv_heads = 1;                 ///< Hkv
  std::int64_t head_dim = 0;                 ///< D
  std::int64_t v_head_dim = 0;               ///< Dv; 0 means D
  Storage storage;                           ///< element types of q, k, v and o
  Arithmetic arithmetic = Arithmetic::kF32;  ///< kNativeBF16: q, k and v are stored as bf16
  Mask mask = Mask::none();
  ScoreModifiers modifiers;
  std::optional<float> scale;    ///< factor of q.k; default 1 / sqrt(D)
  std::vector<Range> q_ranges;   ///< per sequence, within [0, Tq); empty: all tokens
  std::vector<Range> kv_ranges;  ///< per sequence, within [0, Tk); empty: all tokens

  std::vector<std::int64_t> q_positions;   ///< [Tq] or [B, Tq], of magnitude at most 2^40; or empty
  std::vector<std::int64_t> kv_positions;  ///< [Tk] or [B, Tk], the same

  std::int64_t group() const { return q_heads / kv_heads; }                           ///< Hq / Hkv
  std::int64_t value_dim() const { return v_head_dim == 0 ? head_dim : v_head_dim; }  ///< Dv
  Range q_range(std::int64_t b) const {
    return q_ranges.empty() ? Range{0, q_tokens} : q_ranges[b];
  }
  Range kv_range(std::int64_t b) const {
    return kv_ranges.empty() ? Range{0, kv_tokens} : kv_ranges[b];
  }

  /// Position of query token `i` of sequence `b`.
  std::int64_t q_position(std::int64_t b, std::int64_t i) const;

  /// Position of key token `j` of sequence `b`.
  std::int64_t kv_position(std::int64_t b, std::int64_t j) const;

  /// Whether query token `i` of head `h` sees key token `j`: neither is padding, and the mask shows
  /// the key.
  /// @pre  the problem is valid.
  bool visible(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const;

  /// Number of (query, key) pairs that are visible, over all sequences and query heads. A bias of
  /// -inf is not counted: it is data.
  /// @pre  the problem is valid.
  /// @cost O(tiles + pairs of partial tiles / 64)
  std::int64_t visible_pairs() const;

  /// Positions of one sequence in `positions`, by token; null if there are none.
  static const std::int64_t* positions_of(const std::vector<std::int64_t>& positions,
                                          std::int64_t tokens, std::int64_t b) {
    if (positions.empty()) return nullptr;
    return positions.data() +
           (static_cast<std::int64_t>(positions.size()) == tokens ? 0 : b * tokens);
  }

  /// @throws Error{kBadArgument} that names the first field out of range.
  void validate() const;

  bool operator==(const Problem&) const = default;
};

}  // namespace rapt
