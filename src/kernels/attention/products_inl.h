#pragma once

// The products of a tile in f32.

#include "kernels/attention/tile_inl.h"

namespace rapt::RAPT_ISA {
namespace {

/// How scores, softmax and values multiply, k and v of type T: what is theirs of the steps that
/// scores_inl.h, softmax_inl.h and values_inl.h write once. PairProducts is the other. Operands are
/// given to product(): a function around it would cost registers.
template <class T, bool kIsScaled = false>
struct F32Products {
  using Element = T;                             ///< of k and v
  static constexpr bool kScaled = kIsScaled;     ///< by k_scales and v_scales
  using Weight = float;                          ///< of p in s
  static constexpr bool kFinishesScores = true;  ///< score() gives those of step 2
  static constexpr bool kUnrollsKeys = true;     ///< a constant number of keys is faster

  // q k^T, of rows from `row` on and the tiles at k.
  RAPT_INLINE static RowOperand queries(const AttentionTile& tile, int row) {
    return {tile.q + row * tile.head_dim, tile.head_dim};
  }
  RAPT_INLINE static std::int64_t key_width(const AttentionTile& tile) { return tile.head_dim; }
  RAPT_INLINE static LaneOperand<T> keys(const AttentionTile& tile, const T* k) {
    return {k, kGroupKeys * tile.head_dim, kGroupKeys};
  }
  RAPT_INLINE static std::int64_t features(const AttentionTile& tile) { return tile.head_dim; }

  // p v, of rows from `row` and vectors of features from `vector` on.
  RAPT_INLINE static RowOperand weights(const AttentionTile& tile, int row, const KeyRun& keys) {
    return {tile.s + row * kScoreStride + keys.begin, kScoreStride};
  }
  RAPT_INLINE static LaneOperand<T> values(const AttentionTile& tile, int vector,
                                           const KeyRun& keys) {
    return {keys.value<T>(tile, keys.begin) + vector * 16, 16, tile.v_row};
  }
  RAPT_INLINE static std::int64_t steps(const KeyRun& keys) { return keys.end - keys.begin; }

  // What becomes of an accumulator of each product, and of a weight.
  RAPT_INLINE static F32x16 score(const AttentionTile&, F32x16 acc) { return in_order<T>(acc); }
  RAPT_INLINE static F32x16 value(F32x16 acc) { return in_order<T>(acc); }
  RAPT_INLINE static F32x16 weight(F32x16 p) { return p; }
};

}  // namespace
}  // namespace rapt::RAPT_ISA
