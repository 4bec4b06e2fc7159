#pragma once

// Both kinds of gelu of 16 lanes, as the functions of math_inl.h; errors are stated as there.

#include <cstdint>

#include "simd/math_inl.h"

namespace rapt::RAPT_ISA {
namespace {

/// gelu x = x Phi(x), with NaN at -inf as the formula has it. @error 5.21 ulp.
///
/// Q(t) = 1 - Phi(t) = e^(-t^2/2) P(v) / (t + 5/2), v = (t - 5/2) / (t + 5/2), for t = |x|; what
/// rounding takes from t^2 goes into the exponential.
inline F32x16 gelu(F32x16 x) {
  const F32x16 one = broadcast(1.0f), half = broadcast(-0.5f), lowest = broadcast(-15.0f);
  const F32x16 magnitude = as_float(bit_and(as_int(x), broadcast_int(INT32_MAX)));
  const F32x16 t = min(broadcast(15.0f), magnitude);
  const F32x16 square = mul(t, t), low = fma(t, t, sub(zero(), square));
  const ExpParts e = exp_parts(mul(half, square));
  const F32x16 power = fma(mul(half, low), add(one, e.tail), e.tail);
  const F32x16 below = add(t, broadcast(2.5f)), v = div(sub(t, broadcast(2.5f)), below);
  F32x16 p = fma(broadcast(-0x1.6a0294p-13f), v, broadcast(-0x1.55f10cp-12f));
  p = fma(p, v, broadcast(0x1.71bf88p-11f));
  p = fma(p, v, broadcast(0x1.4d4990p-9f));
  p = fma(p, v, broadcast(-0x1.a65340p-10f));
  p = fma(p, v, broadcast(-0x1.0c9968p-6f));
  p = fma(p, v, broadcast(0x1.2eb4f2p-7f));
  p = fma(p, v, broadcast(0x1.0e4fc0p-3f));
  p = fma(p, v, broadcast(-0x1.bc19cap-2f));
  p = fma(p, v, broadcast(0x1.69cee6p-1f));
  const F32x16 tail = div(fma(p, power, p), below);  // 2^-n Q(t)
  const F32x16 right = mul(x, sub(one, scale_by_power(tail, e.n)));
  const F32x16 left = scale_by_power(mul(x, tail), e.n);
  const F32x16 y = select(less(x, zero()), left, right);
  return select(less(x, lowest), mul(x, zero()), y);
}

/// gelu_tanh x = x / (1 + e^-w), w = 2 sqrt(2 / pi) (x + 0.044715 x^3), with NaN at -inf.
/// @error 2.62 ulp.
///
/// As silu, with w in two parts: a rounded w would cost |w| / 2 ulp.
inline F32x16 gelu_tanh(F32x16 x) {
  const F32x16 one = broadcast(1.0f), lowest = broadcast(-11.2f);
  const F32x16 a = broadcast(0x1.988454p+0f), a_low = broadcast(-0x1.857936p-25f);
  const F32x16 b = broadcast(0x1.2444f2p-4f), b_low = broadcast(0x1.49b16ap-29f);
  const F32x16 c = max(lowest, min(broadcast(10.0f), x));
  const F32x16 z = mul(c, c), z_low = fma(c, c, sub(zero(), z));
  const F32x16 bz = mul(b, z);
  const F32x16 bz_low = add(fma(b, z, sub(zero(), bz)), fma(b, z_low, mul(b_low, z)));
  const F32x16 t = add(a, bz), part = sub(t, a);
  const F32x16 lost = add(sub(a, sub(t, part)), sub(bz, part));  // t + lost = a + bz
  const F32x16 t_low = add(add(lost, bz_low), a_low);
  const F32x16 w = mul(c, t), w_low = fma(c, t_low, fma(c, t, sub(zero(), w)));
  const ExpParts e = exp_parts(sub(zero(), w));
  const F32x16 tail = sub(e.tail, mul(w_low, add(one, e.tail)));
  const I32x16 minus_n = sub(broadcast_int(0), e.n);
  const F32x16 sum = add(add(scale_by_power(one, minus_n), one), tail);
  const F32x16 y = scale_by_power(div(x, sum), minus_n);
  return select(less(x, lowest), mul(x, zero()), y);
}

}  // namespace
}  // namespace rapt::RAPT_ISA
