#pragma once

#include <cstdint>
#include <vector>

#include "base/isa.h"

namespace rapt {

/// Floats that one stream of a read takes before it moves on: 1 MiB.
inline constexpr std::int64_t kStreamFloats = std::int64_t{1} << 18;

/// Exponentials that are under way together.
inline constexpr std::int64_t kExpFloats = 64;

/// What the machine can do at most: the work that shares of a ceiling are shares of.
struct CeilingKernels {
  Isa isa;
  double step_flops;  ///< flops of one step of `multiply_add`

  /// Runs independent chains acc_n = fma(x, y, acc_n) from n, as many as hide the latency, in every
  /// lane, and returns the sum of all.
  float (*multiply_add)(std::int64_t steps, float x, float y) noexcept;

  /// Sum of 2^x over every x, taken as the softmax takes its weights.
  /// @pre floats is a multiple of kExpFloats; -125 <= x <= 0; data is aligned to 64 bytes.
  float (*exp2_sum)(const float* x, std::int64_t floats) noexcept;

  /// Reads every float once, as `streams` (1, 2 or 4) streams kStreamFloats apart, and returns
  /// their sum.
  /// @pre floats is a multiple of streams kStreamFloats, or less and one of 64 with one stream; data is
  ///      aligned to 64 bytes.
  float (*read)(const float* data, std::int64_t floats, int streams) noexcept;
};

/// What the bf16 dot product instruction can do at most.
struct DotCeiling {
  double step_flops;  ///< flops of one step of `dot_pairs`

  /// CeilingKernels::multiply_add with that instruction: x and y are the elements of every pair.
  float (*dot_pairs)(std::int64_t steps, float x, float y) noexcept;
};

/// Null where active_isa() has no such instruction: native bf16 is then two fma, and its ceiling theirs.
const DotCeiling* dot_ceiling();

/// Best first, scalar last.
const std::vector<CeilingKernels>& ceilings_table();

}  // namespace rapt
