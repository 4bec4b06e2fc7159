#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>

#include "base/round.h"
#include "rapt/tensor.h"
#include "rapt/threads.h"

namespace rapt {

/// Rows of a view: the product of its three outer extents.
inline std::int64_t row_count(const Dims& extents) { return extents[0] * extents[1] * extents[2]; }

/// Row number `row` of `view`, in the order of its axes; its elements are strides[3] apart.
template <class T>
T* row_of(const TensorView<T>& view, std::int64_t row) {
  const std::int64_t c = row % view.extents[2], ab = row / view.extents[2];
  return &view.at(ab / view.extents[1], ab % view.extents[1], c, 0);
}

/// Calls body(first, end) for runs of up to `run` rows of [0, rows), taken by tickets.
template <class Body>
void for_rows(const Threads& threads, std::int64_t rows, std::int64_t run, Body&& body) {
  std::atomic<std::int64_t> next{0};
  const auto work = [&](int) {
    for (std::int64_t first; (first = next.fetch_add(run)) < rows;)
      body(first, std::min(first + run, rows));
  };
  const std::int64_t runs = ceil_div(rows, run);
  threads.run(static_cast<int>(std::min<std::int64_t>(threads.count(), runs)), std::ref(work));
}

}  // namespace rapt
