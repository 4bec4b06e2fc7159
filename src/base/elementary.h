#pragma once

namespace rapt {

/// Elementary functions in f64 from + - * / and fma alone, so that every machine and every C
/// library gives the same bits. For tables and for what is computed once a row; kernels have
/// simd/math_inl.h.
///
/// @pre  round to nearest (CanonicalFloatEnv).
namespace elementary {

/// e^x. @error 1 ulp (elementary_test); results below 2^-1022 are 0.
double exp(double x) noexcept;

/// ln x: -inf at 0, NaN below. @error 1 ulp.
double log(double x) noexcept;

/// x^y for x > 0, as e^(y ln x) with ln x in two parts. @error 1 ulp for |y ln x| <= 700.
double pow(double x, double y) noexcept;

/// sin and cos of x in radians; NaN for |x| >= 2^30. @error 2^-52 absolute.
struct SinCos {
  double sin, cos;
};
SinCos sin_cos(double x) noexcept;

}  // namespace elementary
}  // namespace rapt
