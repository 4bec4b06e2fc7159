#pragma once

namespace rapt {

/// Elementary functions in f64 from + - * / and fma alone, so that every machine and every C
/// library gives the same bits. For tables and for what is computed once a row; kernels have
/// simd/math_inl.h.
///
/// @pre  round to nearest (CanonicalFloatEnv).
namespace elementary {

/// e^x; 0 below x = -708. @error 0.9 ulp (elementary_test, as below).
double exp(double x) noexcept;

/// ln x: -inf at 0, NaN below. @error 0.51 ulp.
double log(double x) noexcept;

/// x^y for x > 0, as e^(y ln x) with ln x in two parts. @error 0.9 ulp for |y ln x| <= 700.
double pow(double x, double y) noexcept;

/// sin and cos of x in radians; NaN for |x| >= 2^30. @error 1.1 2^-53 absolute.
struct SinCos {
  double sin, cos;
};
SinCos sin_cos(double x) noexcept;

}  // namespace elementary
}  // namespace rapt
