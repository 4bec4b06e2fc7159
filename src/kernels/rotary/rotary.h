#pragma once

#include <cstdint>

#include "base/isa.h"

namespace rapt {

/// The heads of one token; `y` may be `x`. Pair i of a head is at features i step and
/// i step + offset.
struct RotaryToken {
  const float* x;
  std::int64_t x_head_stride, x_stride;
  float* y;
  std::int64_t y_head_stride, y_stride;
  std::int64_t heads, pairs;
  std::int64_t step, offset;
  const float* cos;  ///< [pairs]
  const float* sin;  ///< [pairs]
};

struct RotaryKernels {
  Isa isa;

  /// y_0 = fma(x_0, cos, -(x_1 sin)), y_1 = fma(x_1, cos, x_0 sin).
  void (*rotate)(const RotaryToken& token) noexcept;
};

/// The kernels for `isa`, or for the best instruction set below it.
const RotaryKernels& rotary_kernels(Isa isa);

}  // namespace rapt
