#pragma once

// exp2, exp, log2, log, tanh and silu of 16 lanes, from the vec_*.h contract alone: polynomials,
// fma and integer exponents, so every instruction set gives the same bits. NaN gives NaN (which NaN
// is not said), zeros, infinities and denormals are right. polynomials.py derives the coefficients.
//
// @pre   included after one vec_<isa>.h; round to nearest, no flush to zero.
// @error stated maxima are over every f32 input (kernels/math/math_test), in ulp of the f32 result.

#include <cstdint>
#include <limits>

namespace rapt::RAPT_ISA {
namespace {

/// a 2^n for |n| <= 252, rounded once: both factors are normal, the first product is exact.
inline F32x16 scale_by_power(F32x16 a, I32x16 n) {
  const I32x16 bias = broadcast_int(127), half = shift_right<1>(n);
  const F32x16 first = as_float(shift_left<23>(add(half, bias)));
  const F32x16 second = as_float(shift_left<23>(add(sub(n, half), bias)));
  return mul(mul(a, first), second);
}

/// x = f + n, n the nearest integer.
struct NearestInteger {
  F32x16 n;
  I32x16 n_int;
};

/// The integer nearest to a b, |a b| < 2^22: adding 1.5 2^23 leaves it in the last bits of the sum.
inline NearestInteger nearest_integer(F32x16 a, F32x16 b) {
  const F32x16 magic = broadcast(0x1.8p23f);
  const F32x16 t = fma(a, b, magic);
  return {sub(t, magic), sub(as_int(t), as_int(magic))};
}

/// 2^x. @error 0.88 ulp.
inline F32x16 exp2(F32x16 x) {
  x = max(broadcast(-151.0f), min(broadcast(129.0f), x));  // in this order a NaN passes both
  const NearestInteger i = nearest_integer(x, broadcast(1.0f));
  const F32x16 f = sub(x, i.n);
  F32x16 p = fma(broadcast(0x1.417ab0p-13f), f, broadcast(0x1.5f094ap-10f));
  p = fma(p, f, broadcast(0x1.3b2dd2p-7f));
  p = fma(p, f, broadcast(0x1.c6af7ap-5f));
  p = fma(p, f, broadcast(0x1.ebfbdcp-3f));
  p = fma(p, f, broadcast(0x1.62e430p-1f));
  p = fma(p, f, broadcast(1.0f));
  return scale_by_power(p, i.n_int);
}

/// e^x = 2^n (1 + tail), |x| <= 150.
struct ExpParts {
  F32x16 tail;
  I32x16 n;
};

/// x = n ln 2 + r with ln 2 in two parts, the first product exact; tail = e^r - 1 on |r| <= ln 2
/// / 2.
inline ExpParts exp_parts(F32x16 x) {
  const NearestInteger i = nearest_integer(x, broadcast(0x1.715476p0f));
  F32x16 r = fma(i.n, broadcast(-0x1.62e430p-1f), x);
  r = fma(i.n, broadcast(0x1.05c610p-29f), r);
  F32x16 p = fma(broadcast(0x1.6a539cp-10f), r, broadcast(0x1.12397ap-7f));
  p = fma(p, r, broadcast(0x1.5558aap-5f));
  p = fma(p, r, broadcast(0x1.555492p-3f));
  p = fma(p, r, broadcast(0x1.fffffcp-2f));
  return {fma(mul(r, r), p, r), i.n_int};
}

/// e^x. @error 1.02 ulp.
inline F32x16 exp(F32x16 x) {
  x = max(broadcast(-104.0f), min(broadcast(89.0f), x));
  const ExpParts e = exp_parts(x);
  return scale_by_power(add(broadcast(1.0f), e.tail), e.n);
}

/// x = 2^e (1 + u), 1 + u in [sqrt(1/2), sqrt(2)); ln(1 + u) = u + tail. For 0 < x < inf.
struct LogParts {
  F32x16 e, u, tail;
};

inline LogParts log_parts(F32x16 x) {
  const Mask16 tiny = less(x, broadcast(0x1p-126f));
  x = select(tiny, mul(x, broadcast(0x1p24f)), x);
  const I32x16 sqrt_half = broadcast_int(0x3F3504F3);
  const I32x16 above = sub(as_int(x), sqrt_half);
  const F32x16 m = as_float(add(bit_and(above, broadcast_int(0x007FFFFF)), sqrt_half));
  const F32x16 e = add(to_float(shift_right<23>(above)), zero_unless(tiny, broadcast(-24.0f)));
  const F32x16 u = sub(m, broadcast(1.0f));
  F32x16 p = fma(broadcast(0x1.147712p-4f), u, broadcast(-0x1.de03a2p-4f));
  p = fma(p, u, broadcast(0x1.e6bf58p-4f));
  p = fma(p, u, broadcast(-0x1.fc2874p-4f));
  p = fma(p, u, broadcast(0x1.233ba6p-3f));
  p = fma(p, u, broadcast(-0x1.555c46p-3f));
  p = fma(p, u, broadcast(0x1.99a476p-3f));
  p = fma(p, u, broadcast(-0x1.000006p-2f));
  p = fma(p, u, broadcast(0x1.555548p-2f));
  const F32x16 square = mul(u, u);
  return {e, u, fma(square, broadcast(-0.5f), mul(mul(square, u), p))};
}

/// `y`, the logarithm of x where 0 < x < inf; elsewhere -inf at 0, inf at inf, NaN below 0 and at
/// NaN.
inline F32x16 with_log_limits(F32x16 x, F32x16 y) {
  const F32x16 inf = broadcast(std::numeric_limits<float>::infinity());
  const F32x16 nan = broadcast(std::numeric_limits<float>::quiet_NaN());
  const F32x16 not_above_zero = select(equal(x, zero()), sub(zero(), inf), nan);
  return select(less(zero(), x), select(less(x, inf), y, inf), not_above_zero);
}

/// head + low = a + b exactly, for a = 0 or |a| >= |b|; then head + (low + rest).
inline F32x16 add_ordered(F32x16 a, F32x16 b, F32x16 rest) {
  const F32x16 head = add(a, b);
  const F32x16 low = sub(b, sub(head, a));
  return add(head, add(low, rest));
}

/// ln x. @error 0.88 ulp.
inline F32x16 log(F32x16 x) {
  const LogParts l = log_parts(x);
  // The upper part of ln 2 has 16 bits: its product with e is exact.
  const F32x16 rest = fma(l.e, broadcast(0x1.7f7d1cp-20f), l.tail);
  return with_log_limits(x, add_ordered(mul(l.e, broadcast(0x1.62e4p-1f)), l.u, rest));
}

/// log2 x. @error 1.06 ulp.
inline F32x16 log2(F32x16 x) {
  const LogParts l = log_parts(x);
  const F32x16 log2_e = broadcast(0x1.715476p0f), log2_e_low = broadcast(0x1.4ae0c0p-26f);
  const F32x16 u = mul(l.u, log2_e);
  const F32x16 u_low = fma(l.u, log2_e, sub(zero(), u));
  const F32x16 rest = fma(l.tail, log2_e, fma(l.u, log2_e_low, u_low));
  return with_log_limits(x, add_ordered(l.e, u, rest));
}

/// tanh x = sign(x) (1 - 2 / (e^(2|x|) + 1)), near 0 an odd polynomial. @error 1.23 ulp.
inline F32x16 tanh(F32x16 x) {
  const I32x16 sign = bit_and(as_int(x), broadcast_int(INT32_MIN));
  const F32x16 magnitude = as_float(bit_and(as_int(x), broadcast_int(INT32_MAX)));
  const ExpParts e = exp_parts(mul(broadcast(2.0f), min(broadcast(10.0f), magnitude)));
  const F32x16 power = as_float(shift_left<23>(sub(broadcast_int(127), e.n)));  // 2^-n
  const F32x16 sum = add(add(power, broadcast(1.0f)), e.tail);
  const F32x16 far = sub(broadcast(1.0f), div(mul(broadcast(2.0f), power), sum));

  const F32x16 z = mul(x, x);
  F32x16 p = fma(broadcast(-0x1.828774p-8f), z, broadcast(0x1.54c3c2p-6f));
  p = fma(p, z, broadcast(-0x1.b89abap-5f));
  p = fma(p, z, broadcast(0x1.1109bep-3f));
  p = fma(p, z, broadcast(-0x1.55553ep-2f));
  const F32x16 near = fma(mul(magnitude, z), p, magnitude);
  const F32x16 y = select(less(magnitude, broadcast(0.6f)), near, far);
  return as_float(bit_or(as_int(y), sign));
}

/// silu x = x / (1 + e^-x), with NaN at -inf as the formula has it. @error 2.45 ulp.
///
/// With e^-x = 2^n (1 + tail) it is x / (2^-n + 1 + tail) times 2^-n, the power applied last:
/// results stay right where e^-x overflows and where they are denormal.
inline F32x16 silu(F32x16 x) {
  const F32x16 one = broadcast(1.0f), lowest = broadcast(-110.0f);
  const ExpParts e = exp_parts(sub(zero(), max(lowest, min(broadcast(87.0f), x))));
  const I32x16 minus_n = sub(broadcast_int(0), e.n);
  const F32x16 sum = add(add(scale_by_power(one, minus_n), one), e.tail);
  const F32x16 y = scale_by_power(div(x, sum), minus_n);
  return select(less(x, lowest), mul(x, zero()), y);
}

}  // namespace
}  // namespace rapt::RAPT_ISA
