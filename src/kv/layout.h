#pragma once

#include <cstdint>

#include "kernels/attention/attention.h"

namespace rapt {

constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Chunks that hold `slots` slots.
constexpr std::int64_t chunks_of(std::int64_t slots) {
  return (slots + kChunkKeys - 1) / kChunkKeys;
}

}  // namespace rapt
