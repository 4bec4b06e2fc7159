#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "rapt/dtype.h"

namespace rapt {

/// M, the largest element of a quantised type.
template <class U>
inline constexpr float kLargest = 127.0f;
template <>
inline constexpr float kLargest<F8E4M3> = 448.0f;

/// The nearest element to x, ties to even. @pre |x| is finite; the rounding mode is to nearest.
template <class U>
U nearest_element(float x);
template <>
inline std::int8_t nearest_element(float x) {
  const float clamped = std::clamp(x, -127.0f, 127.0f);
  return static_cast<std::int8_t>((clamped + 0x1.8p23f) - 0x1.8p23f);  // the sum's last bit is 1
}
template <>
inline F8E4M3 nearest_element(float x) {
  return to_f8e4m3(x);
}

/// Quantises a token of one head; returns its scale: 0 of zeros, NaN if it holds Inf or NaN.
///
///     scale = max_e |x_e| / M;   out_e = nearest(x_e / scale), 0 where scale is 0 or NaN
template <class U, class T>
float quantise(const T* x, std::int64_t stride, std::int64_t dim, U* out, std::int64_t out_stride) {
  constexpr float kMax = std::numeric_limits<float>::max();
  float largest = 0.0f;
  bool finite = true;
  for (std::int64_t e = 0; e < dim; ++e) {
    const float magnitude = std::fabs(to_float(x[e * stride]));
    finite = finite && magnitude <= kMax;
    largest = magnitude > largest ? magnitude : largest;
  }
  const float scale = finite ? largest / kLargest<U> : std::numeric_limits<float>::quiet_NaN();
  for (std::int64_t e = 0; e < dim; ++e)
    out[e * out_stride] = scale > 0.0f ? nearest_element<U>(to_float(x[e * stride]) / scale) : U{};
  return scale;
}

}  // namespace rapt
