#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "rapt/batch.h"

namespace rapt {

/// Entries whose sequences have their first chunks in the same memory.
struct SharedChunks {
  std::vector<std::int64_t> entries;  ///< ascending, two at least
  std::int64_t chunks = 0;            ///< one at least
};

/// Which of a batch's `candidates`, numbers of entries that the cache has, attend to which chunks
/// together. `whole_chunks(entry)` are the chunks from 0 on that all of its rows see in full.
///
/// Sequences are put in the order of their pages, so that those that share lie side by side. Of all
/// runs of neighbours the one is taken that saves the most reads, chunks times (entries - 1); then
/// the same on both sides of it. An entry is in one at most.
///
/// @cost O(n log n) comparisons of page lists, O(n^2) steps a group for n
///       sequences that share.
std::vector<SharedChunks> shared_chunks(
    const KvTiles& cache, std::span<const BatchEntry> entries, std::vector<std::int64_t> candidates,
    const std::function<std::int64_t(const BatchEntry&)>& whole_chunks);

}  // namespace rapt
