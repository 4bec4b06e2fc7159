#pragma once

namespace rapt {

/// P(f) = 1 + f (C1 + f (C2 + f (C3 + f (C4 + f C5)))) ~ 2^f on [-1/2, 1/2], each step one fma: the
/// softmax's exponential. Relative minimax with P(0) = 1; polynomials.py derives it.
///
/// @error relative 1.57e-7; 1.73 ulp for f > 0, 1.95 ulp for f < 0 (every f:
/// kernels/math/math_test).
inline constexpr float kExp2C1 = 0x1.62e42ap-1f;
inline constexpr float kExp2C2 = 0x1.ebf9c2p-3f;
inline constexpr float kExp2C3 = 0x1.c6b6d8p-5f;
inline constexpr float kExp2C4 = 0x1.3ce8b2p-7f;
inline constexpr float kExp2C5 = 0x1.5bda8cp-10f;

}  // namespace rapt
