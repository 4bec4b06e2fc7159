#pragma once

#include <vector>

#include "base/rows.h"
#include "rapt/tensor.h"

namespace rapt {

/// A contiguous tensor that owns its memory.
struct Buffer {
  std::vector<float> memory;
  MutableTensor view;

  explicit Buffer(const Dims& extents, float value = 0)
      : memory(static_cast<std::size_t>(row_count(extents) * extents[3]), value),
        view(memory.data(), extents) {}
  explicit Buffer(const ConstTensor& from) : Buffer(from.extents) {
    const std::int64_t features = from.extents[3];
    for (std::int64_t row = 0; row < row_count(from.extents); ++row)
      for (std::int64_t e = 0; e < features; ++e)
        memory[static_cast<std::size_t>(row * features + e)] =
            row_of(from, row)[e * from.strides[3]];
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
};

}  // namespace rapt
