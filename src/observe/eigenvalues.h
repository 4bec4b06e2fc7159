#pragma once

#include <complex>
#include <cstdint>
#include <vector>

namespace rapt {

/// Eigenvalues of a real matrix a [n, n], in no order; conjugate pairs are both there.
///
/// @throws Error{kBadArgument} if an element is not finite, or if they are not found in 60 steps each.
/// @error  about n 2^-52 of the matrix's norm, where eigenvalues are not close to defective.
/// @cost   about 10 n^3 flops.
/// @source Francis 1961: Householder reduction to Hessenberg form, then QR steps with double shifts.
std::vector<std::complex<double>> eigenvalues(std::vector<double> a, std::int64_t n);

}  // namespace rapt
