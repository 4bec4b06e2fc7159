#pragma once

#include <cstdint>

#include "base/isa.h"
#include "kernels/attention/attention.h"

namespace rapt {

/// Columns of a row's sums that the merge treats in ways of their own, before those that are linear
/// in the weights.
enum StatisticColumn : int {
  kEntropyColumn,  ///< u = sum p (s - m)
  kSquaresColumn,  ///< q = sum p^2
  kLargestColumn,  ///< the largest score
  kVisibleColumn,  ///< keys that the row sees
  kLinearColumns   ///< the first of those that are linear
};

/// The weights of a row over a chunk, as rows of several heads are compared.
struct WeightLine {
  std::uint32_t seen;         ///< bit g: the row sees a key of group g
  float weights[kChunkKeys];  ///< A; 0 where hidden
  float roots[kChunkKeys];    ///< of A
  float gaps[kChunkKeys];     ///< s - m; -inf where hidden
};

/// Sums over the keys of two rows.
struct PairSums {
  double roots = 0;       ///< of sqrt(A B)
  double products = 0;    ///< of A B
  double cross = 0;       ///< of A (s_b - m_b) where A > 0
  double cross_back = 0;  ///< of B (s_a - m_a) where B > 0
};

/// Sums of the weights of a row, or of a strip of rows, over one chunk of keys. Lanes are slots mod
/// 16 and meet in the tree of docs/numerics.md, 4; a hidden key adds nothing. After the softmax
/// `tile.s` holds p; `scores` is what `keep_scores` kept before it.
struct ObserveKernels {
  Isa isa;

  /// scores[r] = tile.s[r], in the groups that the softmax will read.
  void (*keep_scores)(const AttentionTile& tile, float* scores) noexcept;

  /// sums[r stride] = sum p max(s - m, -200): 0 where p is.
  void (*entropy)(const AttentionTile& tile, const float* scores, float* sums,
                  std::int64_t stride) noexcept;

  /// sums[r stride] = sum p^2.
  void (*squares)(const AttentionTile& tile, float* sums, std::int64_t stride) noexcept;

  /// sums[r stride] = sum p (offset[r] - j), j the key in the chunk.
  void (*distances)(const AttentionTile& tile, const float* offset, float* sums,
                    std::int64_t stride) noexcept;

  /// Sum of p over keys [begin, end) of a chunk, of the groups that the row sees.
  float (*mass)(const float* p, std::uint32_t seen, int begin, int end) noexcept;

  /// Sum of p over the keys in `keys`.
  float (*mass_of)(const float* p, std::uint32_t seen, const KeyBits& keys) noexcept;

  /// Sum of p over the keys j in [begin, end) with ids[j] = id.
  float (*mass_of_equal)(const float* p, std::uint32_t seen, const float* ids, float id, int begin,
                         int end) noexcept;

  /// Sum of p w over the keys that a row sees, those of groups in `whole` or in `visible`.
  float (*weighted_mass)(const float* p, std::uint32_t seen, std::uint32_t whole,
                         const KeyBits& visible, const float* w) noexcept;

  /// line.roots and line.gaps in the groups of line.seen, of its weights and of scores s.
  void (*roots_and_gaps)(const float* s, float m, WeightLine& line) noexcept;

  /// Adds a chunk to the sums of two rows: f32 by lanes, then f64.
  void (*compare)(const WeightLine& a, const WeightLine& b, PairSums& sums) noexcept;

  /// Step 5 for nodes whose acc are such sums: with w = 2^(m_small - m_large),
  ///
  ///     u = u_large + w (u_small + (m_small - m_large) l_small)      q = q_large + w^2 q_small
  ///
  /// the larger score, the sum of the visible keys, and the others as acc.
  void (*merge)(std::int64_t rows, std::int64_t v_stride, const StateRows* sides, int count,
                const StateRows& into) noexcept;
};

/// The kernels for `isa`, or for the best instruction set below it.
const ObserveKernels& observe_kernels(Isa isa);

}  // namespace rapt
