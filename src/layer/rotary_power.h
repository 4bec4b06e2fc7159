#pragma once

#include <cstdint>
#include <vector>

namespace rapt {

/// theta^(2i / R) of pairs i = 0 .. R/2 - 1 in f32, with the bits that torch's `theta ** (arange(0,
/// R, 2) / R)` has on a CPU with AVX-512.
///
/// torch takes elements in blocks of 32 by SLEEF's vector powf, whose arithmetic is followed here
/// step by step, and what is left of the last block by the C library's powf, for which the f64
/// power rounded once stands: of 203,872 powers (23 thetas, all R up to 256) all 158,240 of the
/// blocks are torch's, and all but 40 of the 45,632 others. (With AVX2 torch's blocks have 16.)
///
/// @pre    1 <= theta <= 1e30, R even.
/// @source arXiv:2001.09258 (SLEEF)
std::vector<float> rotary_powers(float theta, std::int64_t dims);

/// The same in f64, correct to 2 ulp.
std::vector<double> rotary_powers(double theta, std::int64_t dims);

}  // namespace rapt
