#pragma once

#include <cstdint>
#include <vector>

#include "rapt/tensor.h"

namespace rapt {

/// Slots in a chunk, the unit in which keys are summed and in which work may be split.
inline constexpr std::int64_t kChunk = 512;

/// Chunks [begin, end) of a sequence's keys.
struct ChunkRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  bool operator==(const ChunkRange&) const = default;
};

/// Unfinished attention over a range of chunks: the list of the range's maximal aligned subtrees,
/// each (m, l, acc) for every row. Merging adjacent states folds their lists along the fixed binary
/// tree over chunk index, so that a split at any chunk boundary changes no bit.
///
/// m is the integer maximum in log2 units, l = sum 2^(s - m), acc = sum 2^(s - m) v; a row that has
/// seen nothing is m = -inf, l = 0, acc = 0, the identity of the merge.
struct State {
  /// The subtree of chunks [index 2^level, (index + 1) 2^level).
  struct Node {
    int level = 0;
    std::int64_t index = 0;
    std::vector<float> m;    ///< [rows]
    std::vector<float> l;    ///< [rows]
    std::vector<float> acc;  ///< [rows, Dv rounded up to 16]
  };

  Dims o_extents{};          ///< [B, Tq, Hq, Dv]; a row is (b, i, h) in that order
  ChunkRange chunks;         ///< what the nodes cover together, in order
  std::vector<float> sinks;  ///< [Hq], in units of log2, or empty: `finish` joins them, once
  std::vector<Node> nodes;   ///< maximal aligned subtrees, ascending
};

struct Result;

/// State over the union of two adjacent ranges. Neither order of a chain of merges changes a bit.
///
/// @throws Error{kBadShape} if the rows differ, Error{kBadArgument} if the sinks do, or unless
///         a.chunks.end == b.chunks.begin.
/// @cost   O(rows Dv) for each pair of subtrees that becomes one.
/// @source FlashInfer's attention states, arXiv:2501.01005, with an order that is fixed.
State merge(const State& a, const State& b);

/// o = acc / l and lse = (m + log2 l) ln 2 of a state, its sinks joined, as `run` gives them for the
/// same chunks.
///
/// @shape  as `run`'s result.
/// @throws Error{kBadShape} naming the view.
/// @cost   O(rows Dv)
void finish(const State& state, const Result& result);

/// Merges finished results over disjoint keys, as other libraries do: weights exp(lse_x - lse).
/// A sink may be in one of them only.
///
/// @shape  a, b, out: o [B, Tq, Hq, Dv], lse [1, B, Hq, Tq]; out may be a or b.
/// @throws Error{kBadShape} naming the view; Error{kBadArgument} if one has no lse.
/// @error  within promise 1, but not the bits of one run: use `merge` for those.
void merge_finished(const Result& a, const Result& b, const Result& out);

}  // namespace rapt
