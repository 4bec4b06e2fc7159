#pragma once

// How each instruction set reads weights that are used once, by a few rows. It shows in no bit;
// docs/performance.md has the measurements.

#include "kernels/product/fetch.h"

namespace rapt {

struct LinearTuning {
  int unfetched_rows;  ///< up to so many rows leave it to the hardware
  Fetch fetch;         ///< what more rows do
  int turn_steps;      ///< steps of a turn of the loop
};

// Turns of 16 steps gain 5% over 4 on AVX2; of 8 they lose 3% on AVX-512.
namespace avx2 {
constexpr LinearTuning kLinearTuning{3, {FetchTo::kL2, 16 << 10}, 16};
}
namespace avx512 {
constexpr LinearTuning kLinearTuning{0, {FetchTo::kL1, 2 << 10}, 4};
}
namespace avx512bf16 {
constexpr LinearTuning kLinearTuning = avx512::kLinearTuning;  // not measured
}
namespace neon {
constexpr LinearTuning kLinearTuning = avx512::kLinearTuning;  // not measured
}
namespace scalar {
constexpr LinearTuning kLinearTuning{0, kNoFetch, 4};
}

}  // namespace rapt
