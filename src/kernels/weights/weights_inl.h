#pragma once

// The softmax's exponential p = 2^(s - m). Include after simd/vec_<isa>.h.

#include <limits>

#include "kernels/product/product_inl.h"
#include "simd/exp2_poly.h"

namespace rapt::RAPT_ISA {
namespace {

// Adding kRound to x in [-2^21, 2^21] rounds x to an integer n, ties to even, and leaves n + 128 in
// the low byte: shifted into the exponent field it is 2^(n + 1).
constexpr float kRound = 0x1.8p23f + 128.0f;
constexpr float kSmallest = kRound - 125.0f;
constexpr float kExactMax = 0x1p21f;

/// kCount vectors p = 2^n P(f), n the integer nearest s - m, f = s - (n + m), both exact; +0 for
/// n < -125. Below kExactMax `m` holds kRound - m; from there on s - m is exact itself where p is
/// not 0.
template <bool kLarge, int kCount>
RAPT_INLINE void weights_of(F32x16 (&s)[kCount], const F32x16 (&m)[kCount]) {
  F32x16 t[kCount], f[kCount];
  unroll<kCount>(RAPT_UNROLLED(i) {
    const F32x16 x = kLarge ? sub(s[i], m[i]) : s[i];
    const F32x16 shift = kLarge ? broadcast(kRound) : m[i];
    t[i] = add(x, shift);
    f[i] = sub(x, sub(t[i], shift));
  });
  // Half of P, whose other half is in the exponent: scaling by 2 commutes with every rounding here.
  unroll<kCount>(
      RAPT_UNROLLED(i) { s[i] = fma(broadcast(0.5f * kExp2C5), f[i], broadcast(0.5f * kExp2C4)); });
  unroll<kCount>(RAPT_UNROLLED(i) { s[i] = fma(s[i], f[i], broadcast(0.5f * kExp2C3)); });
  unroll<kCount>(RAPT_UNROLLED(i) { s[i] = fma(s[i], f[i], broadcast(0.5f * kExp2C2)); });
  unroll<kCount>(RAPT_UNROLLED(i) { s[i] = fma(s[i], f[i], broadcast(0.5f * kExp2C1)); });
  unroll<kCount>(RAPT_UNROLLED(i) { s[i] = fma(s[i], f[i], broadcast(0.5f)); });
  unroll<kCount>(RAPT_UNROLLED(i) {
    s[i] = mul(s[i], as_float(shift_left<23>(as_int(t[i]))));
    s[i] = zero_unless(not_less(t[i], broadcast(kSmallest)), s[i]);  // NaN stays
  });
}

constexpr float kEmptyMax = -std::numeric_limits<float>::infinity();

/// What weights_of takes for m: an empty row's -inf hides everything whatever is subtracted.
inline float weight_shift(float m, bool large) {
  return large ? m : kRound - (m == kEmptyMax ? 0.0f : m);
}

inline bool is_large(float m) { return (m >= kExactMax || m <= -kExactMax) && m != kEmptyMax; }

}  // namespace
}  // namespace rapt::RAPT_ISA
