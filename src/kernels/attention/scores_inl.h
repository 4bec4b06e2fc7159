#pragma once

// Scores, and what the modifiers make of them: steps 2 and 3 of docs/numerics.md. P is how they are
// multiplied, F32Products<T> or PairProducts.

#include "kernels/attention/pack_inl.h"

namespace rapt::RAPT_ISA {
namespace {

/// s[r][16 g + lane] for kRows rows and kVectors groups of keys, the tiles at k; hidden keys -inf,
/// if P finishes scores. Meanwhile as many are fetched from `fetched` on.
template <class P, FetchTo kFetch, int kRows, int kVectors>
inline __attribute__((noinline)) void score_block(const AttentionTile& tile,
                                                  const typename P::Element* k,
                                                  const typename P::Element* fetched, int row,
                                                  int group, bool ragged) noexcept {
  F32x16 acc[kRows][kVectors];
  clear(acc);
  const auto features = P::features(tile);
  product<kFetch>(P::queries(tile, row), P::keys(tile, k), features, acc, fetched);
  const F32x16 hidden = broadcast(-kInfinity);
  float* s = tile.s + row * kScoreStride + group * kGroupKeys;
  float* lane_max = tile.lane_max + row * 16;
  unroll<kRows>(RAPT_UNROLLED(r) {
    F32x16 largest = load(lane_max + r * 16);
    unroll<kVectors>(RAPT_UNROLLED(n) {
      F32x16 x = P::score(tile, acc[r][n]);
      if constexpr (P::kScaled) x = mul(x, load(tile.k_scales + (group + n) * kGroupKeys));
      if constexpr (P::kFinishesScores) {
        if (ragged) x = select(lanes_of(tile.visible[row + r].group(group + n)), x, hidden);
        largest = max(x, largest);  // in this order NaN is ignored: it reaches l through p
      }
      store(s + r * kScoreStride + n * kGroupKeys, x);
    });
    if constexpr (P::kFinishesScores) store(lane_max + r * 16, largest);
  });
}

/// Packs the groups from `begin` on that `seen` has, at most kRowGroups, of keys in rows.
inline const float* pack_groups(const AttentionTile& tile, int begin, std::uint32_t seen) {
  const int first = begin * kGroupKeys, end = groups_end(seen) * kGroupKeys;
  with_type(tile.k_dtype, [&]<class T>(T) {
    KeyRows rows = *tile.k_rows;
    rows.data = tile.groups[begin].k;
    rows.keys = at_most(rows.keys, end) - first;
    pack_keys<T, float>(rows, tile.k_packed);
  });
  return tile.k_packed;
}

/// The end of the groups from `begin` on, at most `most`, whose keys lie one after the other.
inline int adjacent_groups_end(const AttentionTile& tile, int begin, int most,
                               std::int64_t group_bytes) {
  if (tile.groups == nullptr) return begin + most;
  int end = begin + 1;
  const auto* next = static_cast<const char*>(tile.groups[begin].k) + group_bytes;
  for (; end < begin + most && end < kChunkGroups && tile.groups[end].k == next; ++end)
    next += group_bytes;
  return end;
}

/// Groups side by side, at most `most`, for so many rows: what fits the registers. A lone row uses
/// each key once, it needs no register.
constexpr int groups_of_rows(int rows, int most) {
  while (rows > 1 && most > 1 && !fits_registers(rows, most)) --most;
  return most;
}

template <class P, int kMostRows, int kGroups, Fetch kFetch, bool kPacks = false>
inline void score_blocks(const AttentionTile& tile) {
  using T = typename P::Element;
  const std::int64_t group_elements = kGroupKeys * P::key_width(tile);
  std::int64_t group_bytes = group_elements * static_cast<std::int64_t>(sizeof(T));
  if constexpr (kPacks)
    with_type(tile.k_dtype, [&]<class K>(K) {
      group_bytes = kGroupKeys * tile.k_rows->key_stride * static_cast<std::int64_t>(sizeof(K));
    });
  RowBlocks blocks = row_blocks(tile);
  std::uint32_t all = 0;
  for (const RowBlock& block : blocks) all |= block.seen;
  for (int r = 0; r < tile.rows; ++r) store(tile.lane_max + r * 16, broadcast(-kInfinity));
  const bool fetches_pages = kFetch.to != FetchTo::kNone && tile.groups != nullptr;
  const int ahead = fetches_pages ? groups_ahead(kFetch, group_elements * sizeof(T)) : 0;
  // The keys of a register tile stay in the cache while all rows pass over them.
  for (std::uint32_t left = all; left != 0;) {
    const int begin = first_group(left);
    const int end = adjacent_groups_end(tile, begin, kGroups, group_bytes);
    left &= groups_from(end);
    const std::uint32_t window = groups_from(begin) & ~groups_from(end);
    const T* k;
    if constexpr (kPacks)
      k = pack_groups(tile, begin, all & window);
    else if (tile.groups != nullptr)
      k = static_cast<const T*>(tile.groups[begin].k);
    else
      k = static_cast<const T*>(tile.k) + begin * group_elements;
    const T* fetched = fetches_pages
                           ? static_cast<const T*>(fetched_keys(tile, begin, ahead, all))
                           : k + kFetch.ahead_bytes / static_cast<std::int64_t>(sizeof(T));
    for (const RowBlock& block : blocks)
      for (std::uint32_t here = block.seen & window; here != 0;) {
        GroupRun run = first_run(here);
        run.end = at_most(run.begin + groups_of_rows(block.rows, kGroups), run.end);
        here &= groups_from(run.end);
        const bool ragged = (block.ragged() & groups_from(run.begin) & ~groups_from(run.end)) != 0;
        with_count<kMostRows>(
            block.rows, [&](auto r) __attribute__((always_inline)) {
              constexpr int kRows = decltype(r)::value;
              with_count<groups_of_rows(kRows, kGroups)>(
                  run.end - run.begin, [&](auto n) __attribute__((always_inline)) {
                    const std::int64_t from = (run.begin - begin) * group_elements;
                    score_block<P, kFetch.to, kRows, decltype(n)::value>(
                        tile, k + from, fetched + from, block.row, run.begin, ragged);
                  });
            });
      }
  }
}

/// The start of the stream of values comes while the softmax computes.
template <class T>
inline void fetch_values(const AttentionTile& tile) {
  constexpr Fetch kFetch = kStream<T>.values.fetch;
  std::uint32_t all = 0;
  for (int r = 0; r < tile.rows; ++r) all |= tile.seen[r];
  if (tile.rows <= kStream<T>.few_value_rows || all == 0) return;
  const int group = first_group(all), key = group * kGroupKeys;
  const T* first = run_of(tile, group, key, key, true, true).template value<T>(tile, key);
  constexpr std::int64_t kAhead = kFetch.ahead_bytes / sizeof(T), kLine = 64 / sizeof(T);
  for (std::int64_t i = 0; i < kAhead; i += kLine) fetch<kFetch.to>(first + i);
}

template <class P>
inline void stream_scores(const AttentionTile& tile) {
  using T = typename P::Element;
  constexpr StreamTuning kTuning = kStream<T>;
  if (tile.rows <= kTuning.few_key_rows)
    score_blocks<P, kTuning.few_key_rows, kTuning.few_keys.groups, kTuning.few_keys.fetch>(tile);
  else
    score_blocks<P, kStreamTileRows, kTuning.keys.groups, kTuning.keys.fetch>(tile);
  fetch_values<T>(tile);
}

template <class P>
inline void cached_scores(const AttentionTile& tile) {
  score_blocks<P, kTileRows, kTileVectors, kNoFetch>(tile);
}

inline F32x16 magnitude(F32x16 x) { return as_float(bit_and(as_int(x), broadcast_int(INT32_MAX))); }

/// s + bias log2 e. Two finite numbers keep a finite sum: the lowest finite bias hides nothing.
inline F32x16 add_bias(F32x16 s, F32x16 bias) {
  const F32x16 limit = broadcast(std::numeric_limits<float>::max());
  const F32x16 sum = fma(bias, broadcast(kLog2E), s);
  const F32x16 within = max(sub(zero(), limit), min(limit, sum));
  // 0 times a number is 0 exactly where it is finite.
  return select(equal(fma(bias, zero(), mul(s, zero())), zero()), within, sum);
}

/// One row of the scores of `groups`.
inline void change_row(const AttentionTile& tile, const ScoreChanges& changes, int r,
                       std::uint32_t groups) {
  const F32x16 log2_e = broadcast(kLog2E), hidden = broadcast(-kInfinity);
  F32x16 largest = hidden;
  for (std::uint32_t left = groups; left != 0; left &= left - 1) {
    const int first = first_group(left) * kGroupKeys;
    float* s = tile.s + r * kScoreStride + first;
    F32x16 x = load(s);
    if (changes.softcap > 0.0f) {
      const F32x16 cap = broadcast(changes.softcap);
      x = mul(mul(cap, tanh(div(x, cap))), log2_e);
    }
    if (changes.slope != nullptr) {
      const F32x16 distance =
          magnitude(sub(broadcast(changes.q_position[r]), load(changes.k_position + first)));
      x = fma(broadcast(changes.slope[r]), distance, x);
    }
    if (changes.relative_bias != nullptr) x = add_bias(x, load(changes.relative_bias[r] + first));
    if (changes.additive_bias != nullptr) x = add_bias(x, load(changes.additive_bias[r] + first));
    if ((tile.whole[r] >> first / kGroupKeys & 1) == 0)
      x = select(lanes_of(tile.visible[r].group(first / kGroupKeys)), x, hidden);
    largest = max(x, largest);
    store(s, x);
  }
  store(tile.lane_max + r * 16, largest);
}

inline void change_scores(const AttentionTile& tile, const ScoreChanges& changes) noexcept {
  for (const RowBlock& block : row_blocks(tile))
    for (int r = block.row; r < block.row + block.rows; ++r)
      change_row(tile, changes, r, block.seen);
}

}  // namespace
}  // namespace rapt::RAPT_ISA
