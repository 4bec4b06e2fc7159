#pragma once

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "base/rows.h"
#include "kernels/strided/strided_row.h"
#include "rapt/tensor.h"
#include "rapt/threads.h"

// What functions of rows share: checks of their views, and their work in parallel.

namespace rapt {

inline void check_extents(const ConstTensor& x, const char* where) {
  require(std::ranges::min(x.extents) >= 0, ErrorCode::kBadShape, where, "no negative extent",
          x.extents);
}

inline void check_same(const ConstTensor& x, const Dims& extents, const char* where) {
  require(x.extents == extents, ErrorCode::kBadShape, where, extents, x.extents);
}

template <class T>
StridedRow<T> strided_row(const TensorView<T>& view, std::int64_t row) {
  return {row_of(view, row), view.strides[3]};
}

/// Calls body(row) for every row of `extents`, in parallel.
template <class Body>
void for_each_row(const Threads& threads, const Dims& extents, Body&& body) {
  constexpr std::int64_t kRun = 1 << 14;  // elements that a worker takes at a time
  for_rows(threads, row_count(extents), kRun / std::max<std::int64_t>(extents[3], 1) + 1,
           [&](std::int64_t first, std::int64_t end) {
             for (std::int64_t row = first; row < end; ++row) body(row);
           });
}

}  // namespace rapt
