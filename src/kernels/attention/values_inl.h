#pragma once

// acc = p v: step 4 of docs/numerics.md, second half. P is how they are multiplied,
// F32Products<T> or PairProducts.

#include "kernels/attention/tile_inl.h"

namespace rapt::RAPT_ISA {
namespace {

/// acc[r][16 n + lane] over a run of keys, of kKeys unless that is 0, continued from acc unless it
/// is the first. Until the last, lanes are in the product's order.
template <class P, FetchTo kFetch, int kKeys, int kRows, int kVectors>
RAPT_INLINE void value_tile(const AttentionTile& tile, int row, int vector, const KeyRun& keys,
                            const typename P::Element* fetched) {
  F32x16 acc[kRows][kVectors];
  clear(acc);
  float* out = tile.acc + row * tile.v_stride + vector * 16;
  if (!keys.first)
    unroll<kRows>(RAPT_UNROLLED(r) {
      unroll<kVectors>(RAPT_UNROLLED(n) { acc[r][n] = load(out + r * tile.v_stride + n * 16); });
    });
  product<kFetch, kKeys>(P::weights(tile, row, keys), P::values(tile, vector, keys), P::steps(keys),
                         acc, fetched);
  unroll<kRows>(RAPT_UNROLLED(r) {
    unroll<kVectors>(RAPT_UNROLLED(n) {
      // A hidden key, of weight +0, and a skipped one agree on -0.
      if (keys.last) acc[r][n] = add(P::value(acc[r][n]), zero());
      store(out + r * tile.v_stride + n * 16, acc[r][n]);
    });
  });
}

template <class P, int kRows, int kVectors>
inline __attribute__((noinline)) void value_block(const AttentionTile& tile, int row, int vector,
                                                  const KeyRun& keys) noexcept {
  value_tile<P, FetchTo::kNone, 0, kRows, kVectors>(tile, row, vector, keys, nullptr);
}

/// How a register tile of so many rows reads the values of a stream: a few kilobytes come from
/// memory in the order of their addresses, and for further vectors and rows from L1.
template <class T, int kRows>
constexpr ValueStream kValueStream =
    kRows <= kStream<T>.few_value_rows ? kStream<T>.few_values : kStream<T>.values;

/// Vectors that so many rows go through at once; a lone row uses each once, it needs no register.
template <int kRows>
constexpr int kStreamVectors = kRows == 1 || fits_registers(kRows, 4) ? 4
                               : fits_registers(kRows, 2)             ? 2
                                                                      : 1;

/// All features of kRows rows, over kKeys keys unless that is 0. Meanwhile as many values are fetched
/// from `fetched` on.
template <class P, int kKeys, int kRows>
RAPT_INLINE void stream_pass(const AttentionTile& tile, int row, const KeyRun& keys,
                             const typename P::Element* fetched) {
  constexpr int kVectors = kStreamVectors<kRows>;
  constexpr FetchTo kFetch = kValueStream<typename P::Element, kRows>.fetch.to;
  const int all = static_cast<int>(tile.v_stride / 16);
  const int of_vector = (keys.end - keys.begin) * 16;  // elements that its keys fetch
  int vector = 0;
  for (; vector + kVectors <= all; vector += kVectors)
    value_tile<P, kFetch, kKeys, kRows, kVectors>(tile, row, vector, keys,
                                                  fetched + vector * of_vector);
  if constexpr (kVectors > 1)
    for (; vector < all; ++vector)
      value_tile<P, kFetch, kKeys, kRows, 1>(tile, row, vector, keys, fetched + vector * of_vector);
}

/// A run of keys, all features of kRows rows. What is cut begins at even keys: no pair is in two.
template <class P, int kRows>
inline __attribute__((noinline)) void stream_block(const AttentionTile& tile, int row,
                                                   const KeyRun& keys) noexcept {
  using T = typename P::Element;
  constexpr int kKeys = kValueStream<T, kRows>.keys;
  constexpr Fetch kFetch = kValueStream<T, kRows>.fetch;
  static_assert(kKeys % 2 == 0);
  constexpr bool kUnrolls = P::kUnrollsKeys && kKeys < kGroupKeys;
  const T* fetched =
      keys.value<T>(tile, keys.begin) + kFetch.ahead_bytes / static_cast<std::int64_t>(sizeof(T));
  if (kFetch.to != FetchTo::kNone && tile.groups != nullptr && tile.k_rows == nullptr) {
    const std::int64_t group_bytes = kGroupKeys * tile.v_row * sizeof(T);
    fetched = static_cast<const T*>(fetched_values(tile, keys.origin / kGroupKeys,
                                                   groups_ahead(kFetch, group_bytes))) +
              (keys.begin - keys.origin) * tile.v_row;
  }
  KeyRun run = keys;
  do {
    run.end = at_most((run.begin & ~1) + kKeys, keys.end);
    run.last = keys.last && run.end == keys.end;
    if (kUnrolls && run.end - run.begin == kKeys)
      stream_pass<P, kUnrolls ? kKeys : 0, kRows>(tile, row, run, fetched);
    else
      stream_pass<P, 0, kRows>(tile, row, run, fetched);
    run.first = false;
    fetched += (run.end - run.begin) * tile.v_row;
    run.begin = run.end;
  } while (run.begin < keys.end);
}

template <class P>
inline void stream_rows(const AttentionTile& tile, const RowBlock& block, const KeyRun& keys) {
  with_count<kStreamTileRows>(
      block.rows, [&](auto r) __attribute__((always_inline)) {
        stream_block<P, decltype(r)::value>(tile, block.row, keys);
      });
}

inline bool hides_nonfinite(const AttentionTile& tile, const RowBlock& block) {
  return (tile.nonfinite_groups & block.ragged()) != 0;
}

/// One row, all features.
template <class P>
inline void value_row(const AttentionTile& tile, int row, const KeyRun& keys) {
  const int all = static_cast<int>(tile.v_stride / 16);
  for (int vector = 0; vector < all; ++vector) value_block<P, 1, 1>(tile, row, vector, keys);
}

/// Rows of which one hides a non-finite value: 0 times it would be NaN, so every row runs over its
/// own visible keys only. Between two runs of them lies a hidden key, so that no pair is in two.
template <class P>
inline void value_rows_apart(const AttentionTile& tile, const RowBlock& block) {
  for (int r = block.row; r < block.row + block.rows; ++r) {
    bool first = true;
    for (std::uint32_t left = tile.seen[r]; left != 0; left &= left - 1) {
      const int group = first_group(left);
      const bool whole = (tile.whole[r] >> group & 1) != 0;
      for (std::uint32_t keys = whole ? 0xFFFF : tile.visible[r].group(group); keys != 0;) {
        const GroupRun lanes = first_run(keys);
        keys &= groups_from(lanes.end);
        const int key = group * kGroupKeys;
        const bool last = keys == 0 && (left & (left - 1)) == 0;
        value_row<P>(tile, r, run_of(tile, group, key + lanes.begin, key + lanes.end, first, last));
        first = false;
      }
    }
    if (first) value_row<P>(tile, r, no_keys(tile));  // it sees nothing
  }
}

/// Calls f with each run of keys of the block, in order; once with no keys if it sees none.
template <class F>
RAPT_INLINE void for_each_run(const AttentionTile& tile, std::uint32_t groups, const KeySpan& span,
                              F&& f) {
  KeyRun run{0, 0, true, groups == 0, tile.v, 0};
  if (run.last) return f(run);
  for (std::uint32_t left = groups; left != 0; run.first = false) {
    const GroupRun part = first_run(left);
    left &= groups_from(part.end);
    run.last = left == 0;
    run.begin = run.first ? span.begin : part.begin * kGroupKeys;
    run.end = run.last ? span.end : part.end * kGroupKeys;
    f(run);
  }
}

template <class P>
inline void value_panels(const AttentionTile& tile) {
  RowBlocks blocks = row_blocks(tile);
  KeySpan spans[kMostStripQueries];
  int together = 0;  // blocks that share keys
  for (const RowBlock& block : blocks) {
    if (hides_nonfinite(tile, block)) {
      value_rows_apart<P>(tile, block);
      continue;
    }
    spans[together] = block_span(tile, block);
    blocks.at[together++] = block;
  }
  // A panel of features stays in the cache while all rows pass over it.
  const int all = static_cast<int>(tile.v_stride / 16);
  for (int vector = 0; vector < all; vector += kTileVectors)
    for (int n = 0; n < together; ++n)
      for_each_run(tile, blocks.at[n].seen, spans[n], [&](const KeyRun& run) {
        with_count<kTileRows>(
            blocks.at[n].rows, [&](auto r) __attribute__((always_inline)) {
              with_count<kTileVectors>(
                  at_most(kTileVectors, all - vector), [&](auto v) __attribute__((always_inline)) {
                    value_block<P, decltype(r)::value, decltype(v)::value>(tile, blocks.at[n].row,
                                                                           vector, run);
                  });
            });
      });
}

template <class P>
inline void stream_values(const AttentionTile& tile) {
  RowBlocks blocks = row_blocks(tile);
  KeySpan spans[kMostStripQueries];
  std::uint32_t all = 0;
  for (int n = 0; n < blocks.count; ++n) {
    RowBlock& block = blocks.at[n];
    if (hides_nonfinite(tile, block)) {
      value_rows_apart<P>(tile, block);
      block.seen = 0;  // done
    } else if (block.seen == 0) {
      stream_rows<P>(tile, block, no_keys(tile));
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
      stream_rows<P>(tile, block,
                     run_of(tile, group, first ? spans[n].begin : low,
                            last ? spans[n].end : low + kGroupKeys, first, last));
    }
  }
}

}  // namespace
}  // namespace rapt::RAPT_ISA
