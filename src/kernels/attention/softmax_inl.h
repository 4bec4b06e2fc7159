#pragma once

// Weights p = 2^(s - m) and their sums: step 4 of docs/numerics.md, first half. P is how they are
// multiplied, F32Products<T> or PairProducts.

#include "kernels/attention/tile_inl.h"
#include "kernels/weights/weights_inl.h"

namespace rapt::RAPT_ISA {
namespace {

/// Turns the scores of kCount rows in `groups` into weights, and sums them by lanes. Weights stand
/// where the row's scores were, from its start on: none is written before it is read.
template <class P, bool kLarge, int kCount>
inline void softmax_rows(const AttentionTile& tile, int row, std::uint32_t groups) {
  float* s = tile.s + row * kScoreStride;
  F32x16 m[kCount], sum[kCount];
  unroll<kCount>(RAPT_UNROLLED(i) {
    m[i] = broadcast(weight_shift(tile.m[row + i], kLarge));
    sum[i] = zero();
  });
  for (std::uint32_t left = groups; left != 0; left &= left - 1) {
    const int first = first_group(left) * kGroupKeys;
    F32x16 x[kCount];
    unroll<kCount>(RAPT_UNROLLED(i) { x[i] = load(s + i * kScoreStride + first); });
    weights_of<kLarge>(x, m);
    unroll<kCount>(RAPT_UNROLLED(i) {
      x[i] = P::weight(x[i]);
      sum[i] = add(sum[i], x[i]);
      if constexpr (P::kScaled) x[i] = mul(x[i], load(tile.v_scales + first));
      store(reinterpret_cast<typename P::Weight*>(s + i * kScoreStride) + first, x[i]);
    });
  }
  unroll<kCount>(RAPT_UNROLLED(i) { tile.l[row + i] = reduce_add(sum[i]); });
}

template <class P>
inline void softmax(const AttentionTile& tile) noexcept {
  for (const RowBlock& block : row_blocks(tile)) {
    const int end = block.row + block.rows;
    bool large = false;
    for (int r = block.row; r < end; ++r) {
      tile.m[r] = reduce_max(ceil(load(tile.lane_max + r * 16))) + 0.0f;  // never -0
      large |= is_large(tile.m[r]);
    }
    int r = block.row;
    if (!large)
      for (; r + 2 <= end; r += 2) softmax_rows<P, false, 2>(tile, r, block.seen);
    for (; r < end; ++r)
      if (is_large(tile.m[r]))
        softmax_rows<P, true, 1>(tile, r, block.seen);
      else
        softmax_rows<P, false, 1>(tile, r, block.seen);
  }
}

template <class P>
inline void weights(const float* s, std::uint32_t seen, float m, float l, float* p) noexcept {
  const bool large = is_large(m), empty = m == -kInfinity && l == 0.0f;
  const F32x16 shift[1] = {broadcast(weight_shift(m, large))};
  for (std::uint32_t left = seen; left != 0; left &= left - 1) {
    const int first = first_group(left) * kGroupKeys;
    F32x16 x[1] = {load(s + first)};
    if (large)
      weights_of<true>(x, shift);
    else
      weights_of<false>(x, shift);
    store(p + first, empty ? zero() : canonical_nan(div(P::weight(x[0]), broadcast(l))));
  }
}

}  // namespace
}  // namespace rapt::RAPT_ISA
