#pragma once

#include <cstdint>

#include "base/round.h"
#include "kernels/attention/attention.h"

namespace rapt {

/// Chunks that hold `slots` slots.
constexpr std::int64_t chunks_of(std::int64_t slots) { return ceil_div(slots, kChunkKeys); }

}  // namespace rapt
