#pragma once

#include "rapt/tensor.h"
#include "rapt/threads.h"

namespace rapt {

/// Root-mean-square norm of each row.
///
///     y_e = (x_e r) weight_e,   r = 1 / sqrt((1/N) sum_e x_e^2 + eps)
///
/// The sum is 16 chains of fma (lane = e mod 16, ascending from +0), then a fixed tree: the same
/// bits on every instruction set and for any number of rows and threads.
///
/// @shape  x, y [A, B, T, N], views of any strides; y may be x.   weight [1, 1, 1, N]
/// @throws Error{kBadShape} naming the view.
/// @source arXiv:1910.07467
void rms_norm(const Threads& threads, const ConstTensor& x, const ConstTensor& weight, float eps,
              const MutableTensor& y);

/// Layer norm of each row, the variance taken around the mean in a second pass.
///
///     y_e = fma((x_e - mean) r, weight_e, bias_e)
///     r = 1 / sqrt((1/N) sum_e (x_e - mean)^2 + eps)
///
/// Sums as in `rms_norm`.
/// @shape  x, y [A, B, T, N], views of any strides; y may be x.   weight, bias [1, 1, 1, N];
///         a bias without data is +0
/// @throws Error{kBadShape} naming the view.
/// @source arXiv:1607.06450
void layer_norm(const Threads& threads, const ConstTensor& x, const ConstTensor& weight,
                const ConstTensor& bias, float eps, const MutableTensor& y);

}  // namespace rapt
