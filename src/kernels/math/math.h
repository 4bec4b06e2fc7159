#pragma once

#include <cstdint>
#include <vector>

#include "base/isa.h"

namespace rapt {

/// The functions of simd/math_inl.h and simd/gelu_inl.h over arrays: y[i] = f(x[i]), i < n; y may be
/// x. The same bits from every entry. Errors are stated there.
struct MathKernels {
  using Map = void (*)(const float* x, float* y, std::int64_t n) noexcept;

  Isa isa;
  Map exp2, exp, log2, log, tanh, silu, gelu, gelu_tanh;
  Map exp2_poly;  ///< P of simd/exp2_poly.h, |x| <= 1/2
};

/// Best first, scalar last.
const std::vector<MathKernels>& math_table();

/// The entry for active_isa().
const MathKernels& math_kernels();

}  // namespace rapt
