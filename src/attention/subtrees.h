#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "rapt/state.h"

namespace rapt {

/// Calls f(level, index) for the maximal aligned subtrees of a range of chunks, ascending: chunks
/// [index 2^level, (index + 1) 2^level).
template <class F>
void for_each_subtree(ChunkRange range, F&& f) {
  for (std::int64_t chunk = range.begin; chunk < range.end;) {
    const auto left = static_cast<std::uint64_t>(range.end - chunk);
    int level = std::bit_width(left) - 1;
    if (chunk > 0) level = std::min(level, std::countr_zero(static_cast<std::uint64_t>(chunk)));
    f(level, chunk >> level);
    chunk += std::int64_t{1} << level;
  }
}

}  // namespace rapt
