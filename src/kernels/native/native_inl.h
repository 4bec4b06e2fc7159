#pragma once

// Attention in native bf16, for every instruction set: docs/numerics.md, "Native bf16".

#include "kernels/attention/scores_inl.h"
#include "kernels/attention/states_inl.h"
#include "kernels/attention/values_inl.h"
#include "kernels/native/pack_inl.h"
#include "kernels/native/pairs_inl.h"

namespace rapt::RAPT_ISA {
namespace {

/// The products of a tile in pairs of bf16, as F32Products has those of f32. The elements of a pair
/// of k or v are neighbours or, in a stream, apart. Products run while a FlushedDenormals lives.
template <bool kApart>
struct PairProducts {
  using Element = BF16;
  using Weight = PairItem;
  /// Where denormals are flushed, scores cannot be scaled.
  static constexpr bool kFinishesScores = kPairSteps == 1;
  static constexpr bool kUnrollsKeys = false;
  static constexpr bool kScaled = false;

  RAPT_INLINE static PairRows queries(const AttentionTile& tile, int row) {
    const std::int64_t stride = even_up(tile.head_dim) * kItemsPerFloat;
    return {reinterpret_cast<const PairItem*>(tile.q) + row * stride, stride};
  }
  RAPT_INLINE static std::int64_t key_width(const AttentionTile& tile) {
    return kApart ? tile.head_dim : even_up(tile.head_dim);
  }
  RAPT_INLINE static PairLanes<kApart> keys(const AttentionTile& tile, const BF16* k) {
    return {k, kGroupKeys * key_width(tile), 32, 16};
  }
  RAPT_INLINE static Elements features(const AttentionTile& tile) { return {0, tile.head_dim}; }

  RAPT_INLINE static PairRows weights(const AttentionTile& tile, int row, const KeyRun& keys) {
    constexpr std::int64_t kStride = kScoreStride * kItemsPerFloat;
    return {reinterpret_cast<const PairItem*>(tile.s) + row * kStride + (keys.begin & ~1), kStride};
  }
  RAPT_INLINE static PairLanes<kApart> values(const AttentionTile& tile, int vector,
                                              const KeyRun& keys) {
    const std::int64_t wide = kApart ? 16 : 32;  // elements of a vector in memory
    const BF16* v = keys.value<BF16>(tile, keys.begin & ~1);
    return {v + vector * wide, wide, 2 * tile.v_row, tile.v_row};
  }
  RAPT_INLINE static Elements steps(const KeyRun& keys) { return {keys.begin, keys.end}; }

  RAPT_INLINE static F32x16 score(const AttentionTile& tile, F32x16 acc) {
    if constexpr (kFinishesScores)
      return mul(acc, broadcast(tile.scale));
    else
      return acc;
  }
  RAPT_INLINE static F32x16 value(F32x16 acc) { return acc; }

  /// p rounded to bf16: nearest, ties to even. No p is denormal.
  RAPT_INLINE static F32x16 weight(F32x16 p) {
    const I32x16 bits = as_int(p);
    const I32x16 odd = bit_and(shift_right<16>(bits), broadcast_int(1));
    const I32x16 sum = add(bits, add(odd, broadcast_int(0x7FFF)));
    const F32x16 rounded = as_float(bit_and(sum, broadcast_int(INT32_MIN >> 15)));
    return select(equal(p, p), rounded, broadcast(kNaN));
  }

 private:
  static constexpr std::int64_t kItemsPerFloat = sizeof(float) / sizeof(PairItem);
};

/// Scales and masks the scores of a block.
inline void finish_scores(const AttentionTile& tile, const RowBlock& block) {
  for (int r = block.row; r < block.row + block.rows; ++r) {
    F32x16 largest = broadcast(-kInfinity);
    for (std::uint32_t left = block.seen; left != 0; left &= left - 1) {
      const int group = first_group(left);
      float* s = tile.s + r * kScoreStride + group * kGroupKeys;
      F32x16 x = mul(load(s), broadcast(tile.scale));
      if ((tile.whole[r] >> group & 1) == 0)
        x = select(lanes_of(tile.visible[r].group(group)), x, broadcast(-kInfinity));
      largest = max(x, largest);
      store(s, x);
    }
    store(tile.lane_max + r * 16, largest);
  }
}

inline void native_scores(const AttentionTile& tile) noexcept {
  {
    const FlushedDenormals flushed;
    if (tile.stream)
      stream_scores<PairProducts<true>>(tile);
    else
      cached_scores<PairProducts<false>>(tile);
  }
  if constexpr (!PairProducts<false>::kFinishesScores)
    for (const RowBlock& block : row_blocks(tile)) finish_scores(tile, block);
}

inline void native_values(const AttentionTile& tile) noexcept {
  const FlushedDenormals flushed;
  if (tile.stream)
    stream_values<PairProducts<true>>(tile);
  else
    value_panels<PairProducts<false>>(tile);
}

constexpr AttentionKernels make_native_attention_kernels(Isa isa) {
  AttentionKernels kernels{};
  kernels.isa = isa;
  kernels.tile_rows = kTileRows;
  kernels.read[static_cast<int>(DType::kBF16)].scale_query = pack_query;
  kernels.scores = native_scores;
  kernels.change_scores = change_scores;
  kernels.softmax = softmax<PairProducts<false>>;
  kernels.values = native_values;
  kernels.merge = merge;
  kernels.join_sinks = join_sinks;
  kernels.finish = finish;
  kernels.weights = weights<PairProducts<false>>;
  kernels.pairs = {pack_key_pairs, pack_value_pairs, pair_keys, pair_values};
  return kernels;
}

}  // namespace
}  // namespace rapt::RAPT_ISA
