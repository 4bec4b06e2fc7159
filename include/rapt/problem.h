#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "rapt/mask.h"

namespace rapt {

/// One attention problem: extents, heads, scale and mask. A value; it holds no tensor.
///
///     o_i = sum_j p_ij v_j,   p_ij = exp(scale q_i.k_j - lse_i) over the visible keys j
///
/// @shape  q [B, Tq, Hq, D]   k [B, Tk, Hkv, D]   v [B, Tk, Hkv, Dv]
///         o [B, Tq, Hq, Dv]   lse [1, B, Hq, Tq]
///
/// Query head h reads key/value head h / (Hq / Hkv): multi-head (Hkv = Hq), grouped-query and
/// multi-query (Hkv = 1) attention are one formula.
///
/// Padding. `q_ranges[b]` and `kv_ranges[b]` are the tokens of sequence b that are not padding,
/// left or right; empty vectors mean all of them. A key's *slot* is its index within its range, and
/// a query's position is kv tokens - q tokens + its index within its range: the last query meets
/// the last key (bottom-right). With more queries than keys the first positions are negative. A
/// padded query and a query whose keys are all hidden give o = 0 and lse = -inf.
struct Problem {
  std::int64_t batch = 1;       ///< B
  std::int64_t q_tokens = 0;    ///< Tq
  std::int64_t kv_tokens = 0;   ///< Tk
  std::int64_t q_heads = 1;     ///< Hq, a multiple of kv_heads
  std::int64_t kv_heads = 1;    ///< Hkv
  std::int64_t head_dim = 0;    ///< D
  std::int64_t v_head_dim = 0;  ///< Dv; 0 means D
  Mask mask = Mask::none();
  std::optional<float> scale;    ///< factor of q.k; default 1 / sqrt(D)
  std::vector<Range> q_ranges;   ///< per sequence, within [0, Tq); empty: all tokens
  std::vector<Range> kv_ranges;  ///< per sequence, within [0, Tk); empty: all tokens

  std::int64_t group() const { return q_heads / kv_heads; }                           ///< Hq / Hkv
  std::int64_t value_dim() const { return v_head_dim == 0 ? head_dim : v_head_dim; }  ///< Dv
  Range q_range(std::int64_t b) const {
    return q_ranges.empty() ? Range{0, q_tokens} : q_ranges[b];
  }
  Range kv_range(std::int64_t b) const {
    return kv_ranges.empty() ? Range{0, kv_tokens} : kv_ranges[b];
  }

  /// Position of query `i`, an index into [0, Tq), of sequence `b`. Keys stand at their slots.
  std::int64_t q_position(std::int64_t b, std::int64_t i) const {
    return kv_range(b).size() - q_range(b).size() + i - q_range(b).begin;
  }

  /// Slots of sequence `b` that query `i` sees; empty for a padded query.
  Range visible_slots(std::int64_t b, std::int64_t i) const;

  /// Number of (query, key) pairs that are visible, over one head of every sequence.
  /// @cost O(B Tq)
  std::int64_t visible_pairs() const;

  /// @throws Error{kBadArgument} that names the first field out of range.
  void validate() const;
};

}  // namespace rapt
