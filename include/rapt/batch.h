#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rapt/attention.h"

namespace rapt {

/// A sequence's part of a ragged batch: its next queries against its keys in a cache.
struct BatchEntry {
  std::int64_t sequence = 0;   ///< of the cache
  std::int64_t q_tokens = 0;   ///< Tq, the last of its tokens where it attends to itself
  std::int64_t kv_tokens = 0;  ///< Tk, from slot 0 on
  Mask mask = Mask::none();    ///< lists, where it has them, are this sequence's
  std::vector<std::int64_t> q_positions{};   ///< [Tq], as in problem.h; empty: places
  std::vector<std::int64_t> kv_positions{};  ///< [Tk]; empty: slots
};

/// Attention of many sequences at once, each with a length, mask and positions of its own: chunks
/// of prompts beside single tokens. Planned once, and run for every layer of a model.
///
/// Adjacent entries of as many queries and the same mask, without given positions, are computed
/// together.
///
/// Entries whose sequences share memory, a prefix forked in a PagedKvCache or the whole sequence,
/// attend to it once: a cascade. It covers the whole chunks (`kChunk`) that every row of theirs sees in full, where
/// neither positions nor masks that differ between heads are given, and leaves out entries whose
/// rows a kv head are so many that they wait for arithmetic, not for keys and values, from 8 (of 16
/// bits from 4) to 16. Of several ways to share, the one that saves the most reads is taken first, and
/// an entry is in one cascade at most.
///
/// Nothing of it shows: a row has the bits that its entry has alone.
class BatchPlan {
 public:
  /// Entries that are computed together. The plan of those with a prefix begins where that ends,
  /// and runs in the batch only.
  struct Part {
    Plan plan;
    std::int64_t first_entry, first_token;
    std::int64_t prefix = -1;  ///< into prefixes(); -1: none
  };

  /// Keys that several entries attend to together: all their rows in one problem of batch 1.
  struct Prefix {
    Plan plan;
    std::vector<std::int64_t> entries;  ///< ascending
    std::int64_t kv_tokens = 0;         ///< from slot 0 on, a multiple of kChunk
  };

  std::int64_t q_tokens() const { return q_tokens_; }  ///< of all entries
  const std::vector<Part>& parts() const { return parts_; }
  const std::vector<Prefix>& prefixes() const { return prefixes_; }

 private:
  friend BatchPlan make_batch_plan(const Problem&, const Threads&, const KvTiles&,
                                   std::span<const BatchEntry>);
  friend void run(const BatchPlan&, const AnyConstTensor&, const KvTiles&, Scratch&, const Result&);
  friend class BatchRun;
  BatchPlan() = default;

  std::int64_t q_tokens_ = 0;
  std::vector<std::int64_t> sequences_;     // [entries]
  std::vector<std::int64_t> first_tokens_;  // [entries + 1]
  std::vector<Part> parts_;
  std::vector<Prefix> prefixes_;
};

/// Plans `entries` on `cache`, or on any of the same tiles: the other layers'. Heads, dims, scale,
/// modifiers, arithmetic and the types of q and o are those of `shared`; the rest is not read.
///
/// @throws Error{kBadArgument} as make_plan, or if `shared` has an additive bias;
///         Error{kOutOfMemory}.
/// @cost   make_plan a part and a prefix; comparing the page lists of sequences of a chunk or more.
BatchPlan make_batch_plan(const Problem& shared, const Threads& threads, const KvTiles& cache,
                          std::span<const BatchEntry> entries);

/// Runs `plan`, as `run` of attention.h; the entries' queries follow each other.
///
/// @shape  q [1, sum Tq, Hq, D]   o [1, sum Tq, Hq, Dv]   lse, m, l [1, 1, Hq, sum Tq]
/// @throws Error{kBadShape, kBadArgument} as `run` of attention.h; Error{kBadArgument} if sequences
///         no longer share what they did when it was planned.
/// @cost   as its parts, and for rows with a prefix O(log chunks) nodes of Dv + 2 floats a query
///         head. Allocates nothing once `scratch` is warm.
void run(const BatchPlan& plan, const AnyConstTensor& q, const KvTiles& cache, Scratch& scratch,
         const Result& result);

}  // namespace rapt
