#pragma once

// Blocks of register-tile rows, and the keys that they see.

#include <cstdint>
#include <limits>

#include "kernels/attention/attention.h"
#include "kernels/attention/streams.h"
#include "kernels/product/product_inl.h"
#include "simd/math_inl.h"

namespace rapt::RAPT_ISA {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kLog2E = 0x1.715476p0f;

inline F32x16 canonical_nan(F32x16 x) { return select(equal(x, x), x, broadcast(kNaN)); }

/// Rows of a register tile: groups `seen` by some of them, seen `whole` by all.
struct RowBlock {
  int row, rows;
  std::uint32_t seen, whole;
  std::uint32_t ragged() const { return seen & ~whole; }
};

struct RowBlocks {
  RowBlock at[kMostStripQueries];
  int count;
  RowBlock* begin() { return at; }
  RowBlock* end() { return at + count; }
};

/// Rows whose groups differ by more than this do not share a register tile: its work is the union.
constexpr int kGroupsApart = 3;

template <class T>
constexpr StreamTuning kStream = stream_tuning(sizeof(T));

/// Register tiles hold accumulators, a vector of the other operand for each and a broadcast.
constexpr bool fits_registers(int rows, int vectors) {
  return (rows * vectors + vectors) * 16 / kRegisterLanes + 1 <= kRegisters;
}
static_assert(fits_registers(kTileRows, kTileVectors) && fits_registers(kStreamTileRows, 1));
static_assert(kStripQueries % kTileRows == 0 && kTileQueries % kStripQueries == 0);

inline RowBlocks row_blocks(const AttentionTile& tile) {
  const int most = tile.stream ? kStreamTileRows : kTileRows;
  RowBlocks blocks;
  blocks.count = 0;
  for (int r = 0; r < tile.rows;) {
    const int left = tile.rows - r;
    const int even = left / ((left + most - 1) / most);  // 8 rows as 4 and 4, not 6 and 2
    RowBlock& block = blocks.at[blocks.count++];
    block = {r, 0, 0, ~0u};
    do {
      block.seen |= tile.seen[r];
      block.whole &= tile.whole[r];
      ++block.rows;
      ++r;
    } while (r < tile.rows && block.rows < even &&
             __builtin_popcount(tile.seen[r] ^ tile.seen[block.row]) <= kGroupsApart);
  }
  return blocks;
}

// Builtins: a function of the standard library could be left over as a weak symbol with this code.
inline int first_group(std::uint32_t groups) { return __builtin_ctz(groups); }
inline int groups_end(std::uint32_t groups) { return 32 - __builtin_clz(groups); }

/// Groups [begin, end), the longest run of `groups` from its first.
struct GroupRun {
  int begin, end;
};
inline GroupRun first_run(std::uint32_t groups) {
  const int begin = first_group(groups);
  return {begin, begin + __builtin_ctzll(~std::uint64_t{groups >> begin})};
}
inline std::uint32_t groups_from(int group) { return group < 32 ? ~0u << group : 0; }

/// Keys of `group` that some row of the block sees.
inline std::uint32_t block_keys(const AttentionTile& tile, const RowBlock& block, int group) {
  std::uint32_t keys = 0;
  for (int r = block.row; r < block.row + block.rows; ++r) keys |= tile.visible[r].group(group);
  return keys;
}

/// Keys from the block's first to its last.
struct KeySpan {
  int begin, end;
};
inline KeySpan block_span(const AttentionTile& tile, const RowBlock& block) {
  if (block.seen == 0) return {0, 0};
  const int first = first_group(block.seen), last = groups_end(block.seen) - 1;
  KeySpan span{first * kGroupKeys, (last + 1) * kGroupKeys};
  if ((block.ragged() >> first & 1) != 0)
    span.begin += __builtin_ctz(block_keys(tile, block, first));
  if ((block.ragged() >> last & 1) != 0)
    span.end -= __builtin_clz(block_keys(tile, block, last) << 16);
  return span;
}

/// Keys [begin, end) of a chunk, and whether the chain starts or ends there. Their values lie one after
/// the other, that of `origin` at v.
struct KeyRun {
  int begin, end;
  bool first, last;
  const void* v;
  int origin;

  template <class T>
  RAPT_INLINE const T* value(const AttentionTile& tile, int key) const {
    return static_cast<const T*>(v) + (key - origin) * tile.v_row;
  }
};

/// Keys of one group; of all of them where none lie in pages.
inline KeyRun run_of(const AttentionTile& tile, int group, int begin, int end, bool first,
                     bool last) {
  if (tile.groups == nullptr) return {begin, end, first, last, tile.v, 0};
  return {begin, end, first, last, tile.groups[group].v, group * kGroupKeys};
}
inline KeyRun no_keys(const AttentionTile& tile) { return run_of(tile, 0, 0, 0, true, true); }

/// Calls f with the constant `count`, 1 .. kMost: the extents of a register tile, cut at the edges.
template <int kMost, class F>
RAPT_INLINE void with_count(int count, F&& f) {
  if (kMost == 1 || count == kMost) return f(std::integral_constant<int, kMost>{});
  if constexpr (kMost > 1) with_count<kMost - 1>(count, f);
}

inline int at_most(int most, int count) { return count < most ? count : most; }

/// Groups of so many bytes from one that is read to the one that is fetched meanwhile.
inline int groups_ahead(Fetch fetch, std::int64_t group_bytes) {
  if (group_bytes == 0) return 0;
  return static_cast<int>((fetch.ahead_bytes + group_bytes - 1) / group_bytes);
}

/// The group to fetch in a stream of pages, so many after `group`: after the keys that are `seen` come
/// their values, and after the chunk's values the next one's keys.
inline const void* fetched_keys(const AttentionTile& tile, int group, int ahead,
                                std::uint32_t seen) {
  const int beyond = group + ahead - groups_end(seen);
  if (beyond < 0) return tile.groups[group + ahead].k;
  return tile.groups[at_most(groups_end(seen) - 1, first_group(seen) + beyond)].v;
}
inline const void* fetched_values(const AttentionTile& tile, int group, int ahead) {
  if (group + ahead < kChunkGroups) return tile.groups[group + ahead].v;
  return tile.groups[at_most(kChunkGroups + kAheadGroups - 1, group + ahead)].k;
}

}  // namespace
}  // namespace rapt::RAPT_ISA
