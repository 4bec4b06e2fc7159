#pragma once

// Attention in native bf16, for every instruction set: the steps of docs/numerics.md, "Native bf16".

#include "kernels/attention/scores_inl.h"
#include "kernels/attention/states_inl.h"
#include "kernels/attention/values_inl.h"
#include "kernels/native/pack_inl.h"
#include "kernels/native/pairs_inl.h"

namespace rapt::RAPT_ISA {
namespace {

constexpr std::int64_t kBytes = sizeof(BF16);
constexpr std::int64_t kItemsPerFloat = sizeof(float) / sizeof(PairItem);

/// Scores are scaled and masked where they are made, unless denormals are flushed there.
constexpr bool kFinishesInPlace = kPairSteps == 1;

inline F32x16 finished_score(const AttentionTile& tile, int row, int group, F32x16 s) {
  s = mul(s, broadcast(tile.scale));
  if ((tile.whole[row] >> group & 1) != 0) return s;
  return select(lanes_of(tile.visible[row].group(group)), s, broadcast(-kInfinity));
}

/// s[r][16 g + lane] for kRows rows and kVectors groups of keys.
template <bool kApart, Fetch kFetch, int kRows, int kVectors>
inline __attribute__((noinline)) void native_score_block(const AttentionTile& tile, int row,
                                                         int group) noexcept {
  F32x16 acc[kRows][kVectors];
  clear(acc);
  const std::int64_t d = tile.head_dim, width = kApart ? d : even_up(d);
  const BF16* k = static_cast<const BF16*>(tile.k) + group * kGroupKeys * width;
  const std::int64_t q_row = even_up(d) * kItemsPerFloat;
  pair_product<kFetch.to>({reinterpret_cast<const PairItem*>(tile.q) + row * q_row, q_row},
                          PairLanes<kApart>{k, kGroupKeys * width, 32, 16}, {0, d}, acc,
                          k + kFetch.ahead_bytes / kBytes);
  float* s = tile.s + row * kScoreStride + group * kGroupKeys;
  float* lane_max = tile.lane_max + row * 16;
  unroll<kRows>(RAPT_UNROLLED(r) {
    if constexpr (kFinishesInPlace) {
      F32x16 largest = load(lane_max + r * 16);
      unroll<kVectors>(RAPT_UNROLLED(n) {
        acc[r][n] = finished_score(tile, row + r, group + n, acc[r][n]);
        largest = max(acc[r][n], largest);
      });
      store(lane_max + r * 16, largest);
    }
    unroll<kVectors>(RAPT_UNROLLED(n) { store(s + r * kScoreStride + n * kGroupKeys, acc[r][n]); });
  });
}

inline void finish_scores(const AttentionTile& tile, const RowBlock& block) {
  for (int r = block.row; r < block.row + block.rows; ++r) {
    F32x16 largest = broadcast(-kInfinity);
    for (std::uint32_t left = block.seen; left != 0; left &= left - 1) {
      const int group = first_group(left);
      float* s = tile.s + r * kScoreStride + group * kGroupKeys;
      const F32x16 x = finished_score(tile, r, group, load(s));
      largest = max(x, largest);
      store(s, x);
    }
    store(tile.lane_max + r * 16, largest);
  }
}

/// kVectors groups side by side, or one.
template <bool kApart, Fetch kFetch, int kRows, int kVectors>
RAPT_INLINE void native_score_groups(const AttentionTile& tile, int row, GroupRun run) {
  if (kVectors > 1 && run.end - run.begin == kVectors)
    return native_score_block<kApart, kFetch, kRows, kVectors>(tile, row, run.begin);
  for (int group = run.begin; group < run.end; ++group)
    native_score_block<kApart, kFetch, kRows, 1>(tile, row, group);
}

template <bool kApart, int kMostRows, int kGroups, Fetch kFetch>
inline void native_score_blocks(const AttentionTile& tile, RowBlocks& blocks) {
  std::uint32_t all = 0;
  for (const RowBlock& block : blocks) all |= block.seen;
  for (std::uint32_t left = all; left != 0;) {
    const int begin = first_group(left);
    left &= groups_from(begin + kGroups);
    const std::uint32_t window = groups_from(begin) & ~groups_from(begin + kGroups);
    for (const RowBlock& block : blocks)
      for (std::uint32_t here = block.seen & window; here != 0;) {
        GroupRun run = first_run(here);
        run.end = at_most(run.begin + kGroups, run.end);
        here &= groups_from(run.end);
        with_count<kMostRows>(
            block.rows, [&](auto r) __attribute__((always_inline)) {
              native_score_groups<kApart, kFetch, decltype(r)::value, kGroups>(tile, block.row,
                                                                               run);
            });
      }
  }
}

inline void native_scores(const AttentionTile& tile) noexcept {
  RowBlocks blocks = row_blocks(tile);
  for (int r = 0; r < tile.rows; ++r) store(tile.lane_max + r * 16, broadcast(-kInfinity));
  {
    constexpr StreamTuning kTuning = kStream<BF16>;
    const FlushedDenormals flushed;
    if (!tile.stream)
      native_score_blocks<false, kTileRows, kTileVectors, kNoFetch>(tile, blocks);
    else if (tile.rows <= kTuning.few_key_rows)
      native_score_blocks<true, kTuning.few_key_rows, kTuning.few_keys.groups,
                          kTuning.few_keys.fetch>(tile, blocks);
    else
      native_score_blocks<true, kStreamTileRows, kTuning.keys.groups, kTuning.keys.fetch>(tile,
                                                                                          blocks);
  }
  if constexpr (!kFinishesInPlace)
    for (const RowBlock& block : blocks) finish_scores(tile, block);
}

/// p rounded to bf16: nearest, ties to even. No p is denormal.
inline F32x16 rounded_weight(F32x16 p) {
  const I32x16 bits = as_int(p);
  const I32x16 odd = bit_and(shift_right<16>(bits), broadcast_int(1));
  const I32x16 sum = add(bits, add(odd, broadcast_int(0x7FFF)));
  const F32x16 rounded = as_float(bit_and(sum, broadcast_int(INT32_MIN >> 15)));
  return select(equal(p, p), rounded, broadcast(kNaN));
}

/// Turns the scores of kCount rows in `groups` into rounded weights, and sums them by lanes. The weights
/// of a row stand where its scores were, from the row's start on: none is written before it is read.
template <bool kLarge, int kCount>
inline void native_softmax_rows(const AttentionTile& tile, int row, std::uint32_t groups) {
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
      x[i] = rounded_weight(x[i]);
      store(reinterpret_cast<PairItem*>(s + i * kScoreStride) + first, x[i]);
      sum[i] = add(sum[i], x[i]);
    });
  }
  unroll<kCount>(RAPT_UNROLLED(i) { tile.l[row + i] = reduce_add(sum[i]); });
}

inline void native_softmax(const AttentionTile& tile) noexcept {
  for (const RowBlock& block : row_blocks(tile)) {
    const int end = block.row + block.rows;
    bool large = false;
    for (int r = block.row; r < end; ++r) {
      tile.m[r] = reduce_max(ceil(load(tile.lane_max + r * 16))) + 0.0f;  // never -0
      large |= is_large(tile.m[r]);
    }
    int r = block.row;
    if (!large)
      for (; r + 2 <= end; r += 2) native_softmax_rows<false, 2>(tile, r, block.seen);
    for (; r < end; ++r)
      if (is_large(tile.m[r]))
        native_softmax_rows<true, 1>(tile, r, block.seen);
      else
        native_softmax_rows<false, 1>(tile, r, block.seen);
  }
}

/// acc[r][16 n + lane] over a run of keys, continued from acc unless it is the first.
template <bool kApart, FetchTo kFetch, int kRows, int kVectors>
RAPT_INLINE void native_value_tile(const AttentionTile& tile, int row, int vector,
                                   const KeyRun& keys, const BF16* fetched) {
  F32x16 acc[kRows][kVectors];
  clear(acc);
  float* out = tile.acc + row * tile.v_stride + vector * 16;
  if (!keys.first)
    unroll<kRows>(RAPT_UNROLLED(r) {
      unroll<kVectors>(RAPT_UNROLLED(n) { acc[r][n] = load(out + r * tile.v_stride + n * 16); });
    });
  const int pair = keys.begin & ~1;
  const std::int64_t wide = kApart ? 16 : 32;  // elements of a vector in memory
  const BF16* v = static_cast<const BF16*>(tile.v) + pair * tile.v_stride + vector * wide;
  const std::int64_t p_row = kScoreStride * kItemsPerFloat;
  pair_product<kFetch>({reinterpret_cast<const PairItem*>(tile.s) + row * p_row + pair, p_row},
                       PairLanes<kApart>{v, wide, 2 * tile.v_stride, tile.v_stride},
                       {keys.begin, keys.end}, acc, fetched);
  unroll<kRows>(RAPT_UNROLLED(r) {
    unroll<kVectors>(RAPT_UNROLLED(n) {
      // A hidden key, of weight +0, and a skipped one agree on -0.
      if (keys.last) acc[r][n] = add(acc[r][n], zero());
      store(out + r * tile.v_stride + n * 16, acc[r][n]);
    });
  });
}

template <bool kApart, int kRows, int kVectors>
inline __attribute__((noinline)) void native_value_block(const AttentionTile& tile, int row,
                                                         int vector, const KeyRun& keys) noexcept {
  native_value_tile<kApart, FetchTo::kNone, kRows, kVectors>(tile, row, vector, keys, nullptr);
}

/// A run of keys, all features of kRows rows, a few keys at a time as in stream_block.
template <int kRows>
inline __attribute__((noinline)) void native_stream_block(const AttentionTile& tile, int row,
                                                          const KeyRun& keys) noexcept {
  constexpr int kVectors = kStreamVectors<kRows>;
  constexpr ValueStream kValues = kValueStream<BF16, kRows>;
  const int all = static_cast<int>(tile.v_stride / 16);
  KeyRun run = keys;
  do {
    run.end = at_most((run.begin & ~1) + kValues.keys, keys.end);  // no pair is cut
    run.last = keys.last && run.end == keys.end;
    const BF16* fetched = static_cast<const BF16*>(tile.v) + run.begin * tile.v_stride +
                          kValues.fetch.ahead_bytes / kBytes;
    const int of_vector = (run.end - run.begin) * 16;  // elements that its keys fetch
    int vector = 0;
    for (; vector + kVectors <= all; vector += kVectors)
      native_value_tile<true, kValues.fetch.to, kRows, kVectors>(tile, row, vector, run,
                                                                 fetched + vector * of_vector);
    if constexpr (kVectors > 1)
      for (; vector < all; ++vector)
        native_value_tile<true, kValues.fetch.to, kRows, 1>(tile, row, vector, run,
                                                            fetched + vector * of_vector);
    run.first = false;
    run.begin = run.end;
  } while (run.begin < keys.end);
}

inline void native_stream_rows(const AttentionTile& tile, const RowBlock& block,
                               const KeyRun& keys) {
  with_count<kStreamTileRows>(
      block.rows, [&](auto r) __attribute__((always_inline)) {
        native_stream_block<decltype(r)::value>(tile, block.row, keys);
      });
}

/// Rows of which one hides a non-finite value: each runs over its own visible keys only. Between two
/// runs of them lies a hidden key, so that no pair is in two.
template <bool kApart>
inline void native_rows_apart(const AttentionTile& tile, const RowBlock& block) {
  const int all = static_cast<int>(tile.v_stride / 16);
  const auto run_row = [&](int r, const KeyRun& run) {
    for (int vector = 0; vector < all; ++vector)
      native_value_block<kApart, 1, 1>(tile, r, vector, run);
  };
  for (int r = block.row; r < block.row + block.rows; ++r) {
    KeyRun run{0, 0, true, false};
    for (std::uint32_t left = tile.seen[r]; left != 0; left &= left - 1) {
      const int group = first_group(left);
      const bool whole = (tile.whole[r] >> group & 1) != 0;
      for (std::uint32_t keys = whole ? 0xFFFF : tile.visible[r].group(group); keys != 0;) {
        const GroupRun lanes = first_run(keys);
        keys &= groups_from(lanes.end);
        run.begin = group * kGroupKeys + lanes.begin;
        run.end = group * kGroupKeys + lanes.end;
        run.last = keys == 0 && (left & (left - 1)) == 0;
        run_row(r, run);
        run.first = false;
      }
    }
    if (run.first) run_row(r, {0, 0, true, true});  // it sees nothing
  }
}

inline void native_value_panels(const AttentionTile& tile) {
  RowBlocks blocks = row_blocks(tile);
  KeySpan spans[kMostStripQueries];
  int together = 0;  // blocks that share keys
  for (const RowBlock& block : blocks) {
    if (hides_nonfinite(tile, block)) {
      native_rows_apart<false>(tile, block);
      continue;
    }
    spans[together] = block_span(tile, block);
    blocks.at[together++] = block;
  }
  const int all = static_cast<int>(tile.v_stride / 16);
  const auto panel = [&](int vector, auto vectors) {
    for (int n = 0; n < together; ++n)
      for_each_run(blocks.at[n].seen, spans[n], [&](const KeyRun& run) {
        with_count<kTileRows>(
            blocks.at[n].rows, [&](auto r) __attribute__((always_inline)) {
              native_value_block<false, decltype(r)::value, decltype(vectors)::value>(
                  tile, blocks.at[n].row, vector, run);
            });
      });
  };
  int vector = 0;
  for (; vector + kTileVectors <= all; vector += kTileVectors)
    panel(vector, std::integral_constant<int, kTileVectors>{});
  if constexpr (kTileVectors > 1)
    for (; vector < all; ++vector) panel(vector, std::integral_constant<int, 1>{});
}

inline void native_stream_values(const AttentionTile& tile) {
  RowBlocks blocks = row_blocks(tile);
  KeySpan spans[kMostStripQueries];
  std::uint32_t all = 0;
  for (int n = 0; n < blocks.count; ++n) {
    RowBlock& block = blocks.at[n];
    if (hides_nonfinite(tile, block)) {
      native_rows_apart<true>(tile, block);
      block.seen = 0;  // done
    } else if (block.seen == 0) {
      native_stream_rows(tile, block, {0, 0, true, true});
    } else {
      spans[n] = block_span(tile, block);
      all |= block.seen;
    }
  }
  for (std::uint32_t left = all; left != 0; left &= left - 1) {
    const int group = first_group(left), low = group * kGroupKeys;
    for (int n = 0; n < blocks.count; ++n) {
      const RowBlock& block = blocks.at[n];
      if ((block.seen >> group & 1) == 0) continue;
      const bool first = group == first_group(block.seen),
                 last = group + 1 == groups_end(block.seen);
      native_stream_rows(
          tile, block,
          {first ? spans[n].begin : low, last ? spans[n].end : low + kGroupKeys, first, last});
    }
  }
}

inline void native_values(const AttentionTile& tile) noexcept {
  const FlushedDenormals flushed;
  if (tile.stream)
    native_stream_values(tile);
  else
    native_value_panels(tile);
}

inline void native_weights(const float* s, std::uint32_t seen, float m, float l,
                           float* p) noexcept {
  const bool large = is_large(m), empty = m == -kInfinity && l == 0.0f;
  const F32x16 shift[1] = {broadcast(weight_shift(m, large))};
  for (std::uint32_t left = seen; left != 0; left &= left - 1) {
    const int first = first_group(left) * kGroupKeys;
    F32x16 x[1] = {load(s + first)};
    if (large)
      weights_of<true>(x, shift);
    else
      weights_of<false>(x, shift);
    store(p + first, empty ? zero() : canonical_nan(div(rounded_weight(x[0]), broadcast(l))));
  }
}

constexpr AttentionKernels make_native_attention_kernels(Isa isa) {
  AttentionKernels kernels{};
  kernels.isa = isa;
  kernels.tile_rows = kTileRows;
  kernels.read[static_cast<int>(DType::kBF16)].scale_query = pack_query;
  kernels.scores = native_scores;
  kernels.change_scores = change_scores;
  kernels.softmax = native_softmax;
  kernels.values = native_values;
  kernels.merge = merge;
  kernels.join_sinks = join_sinks;
  kernels.finish = finish;
  kernels.weights = native_weights;
  kernels.pairs = {pack_key_pairs, pack_value_pairs, pair_keys, pair_values};
  return kernels;
}

}  // namespace
}  // namespace rapt::RAPT_ISA
