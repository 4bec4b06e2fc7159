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
/// together. Nothing of it shows: a row has the bits that its entry has alone.
class BatchPlan {
 public:
  /// Entries that are computed together.
  struct Part {
    Plan plan;
    std::int64_t first_entry, first_token;
  };

  std::int64_t q_tokens() const { return q_tokens_; }  ///< of all entries
  const std::vector<Part>& parts() const { return parts_; }

 private:
  friend BatchPlan make_batch_plan(const Problem&, const Threads&, const KvTiles&,
                                   std::span<const BatchEntry>);
  friend void run(const BatchPlan&, const AnyConstTensor&, const KvTiles&, Scratch&, const Result&);
  BatchPlan() = default;

  std::int64_t q_tokens_ = 0;
  std::vector<std::int64_t> sequences_;  // [entries]
  std::vector<Part> parts_;
};

/// Plans `entries` on `cache`, or on any of the same tiles: the other layers'. Heads, dims, scale,
/// modifiers, arithmetic and the types of q and o are those of `shared`; the rest is not read.
///
/// @throws Error{kBadArgument} as make_plan, or if `shared` has an additive bias;
///         Error{kOutOfMemory}.
/// @cost   make_plan a part.
BatchPlan make_batch_plan(const Problem& shared, const Threads& threads, const KvTiles& cache,
                          std::span<const BatchEntry> entries);

/// Runs `plan`, as `run` of attention.h; the entries' queries follow each other.
///
/// @shape  q [1, sum Tq, Hq, D]   o [1, sum Tq, Hq, Dv]   lse, m, l [1, 1, Hq, sum Tq]
/// @throws Error{kBadShape, kBadArgument} as `run` of attention.h.
void run(const BatchPlan& plan, const AnyConstTensor& q, const KvTiles& cache, Scratch& scratch,
         const Result& result);

}  // namespace rapt
