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
  explicit Buffer(const AnyConstTensor& from) : Buffer(from.extents) {
    float* to = memory.data();
    const Dims& n = from.extents;
    for (std::int64_t a = 0; a < n[0]; ++a)
      for (std::int64_t b = 0; b < n[1]; ++b)
        for (std::int64_t c = 0; c < n[2]; ++c)
          for (std::int64_t d = 0; d < n[3]; ++d) *to++ = from.at(a, b, c, d);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
};

}  // namespace rapt
