#pragma once

#include "kernels/math/math.h"
#include "simd/exp2_poly.h"
#include "simd/gelu_inl.h"
#include "simd/math_inl.h"

namespace rapt::RAPT_ISA {
namespace {

inline F32x16 exp2_poly(F32x16 f) {
  F32x16 p = fma(broadcast(kExp2C5), f, broadcast(kExp2C4));
  p = fma(p, f, broadcast(kExp2C3));
  p = fma(p, f, broadcast(kExp2C2));
  p = fma(p, f, broadcast(kExp2C1));
  return fma(p, f, broadcast(1.0f));
}

template <F32x16 (*kFunction)(F32x16)>
void map_array(const float* x, float* y, std::int64_t n) noexcept {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(y + i, kFunction(load(x + i)));
  if (i == n) return;
  float tail[16] = {};
  for (std::int64_t j = i; j < n; ++j) tail[j - i] = x[j];
  store(tail, kFunction(load(tail)));
  for (std::int64_t j = i; j < n; ++j) y[j] = tail[j - i];
}

constexpr MathKernels kernels_for(Isa isa) {
  return {isa,
          map_array<exp2>,
          map_array<exp>,
          map_array<log2>,
          map_array<log>,
          map_array<tanh>,
          map_array<silu>,
          map_array<gelu>,
          map_array<gelu_tanh>,
          map_array<exp2_poly>};
}

}  // namespace
}  // namespace rapt::RAPT_ISA
