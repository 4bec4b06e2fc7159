#pragma once

#include <cstdint>
#include <string>

#include "kernels/attention/attention.h"
#include "rapt/tensor.h"

namespace rapt {

constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Chunks that hold `slots` slots.
constexpr std::int64_t chunks_of(std::int64_t slots) {
  return (slots + kChunkKeys - 1) / kChunkKeys;
}

/// For messages: "[1, 2, 3, 4]".
inline std::string to_string(const Dims& dims) {
  std::string text = "[";
  for (std::size_t axis = 0; axis < dims.size(); ++axis)
    text += (axis == 0 ? "" : ", ") + std::to_string(dims[axis]);
  return text + "]";
}

}  // namespace rapt
