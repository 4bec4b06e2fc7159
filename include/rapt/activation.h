#pragma once

#include "rapt/tensor.h"
#include "rapt/threads.h"

namespace rapt {

/// The nonlinear function of an MLP.
///
///     silu(z) = z / (1 + exp(-z))
///     gelu(z) = z Phi(z), Phi the distribution function of the standard normal distribution
///     gelu_tanh(z) = z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2
///     relu(z) = max(z, 0)
///
/// @error  src/simd/gelu_inl.h and math_inl.h state the largest, over all f32: below 6 ulp.
/// @source arXiv:1702.03118 (SiLU), 1606.08415 (GELU)
enum class Activation { kSilu, kGelu, kGeluTanh, kRelu };

/// out = f(x), element by element; the same bits on every instruction set and for any threads.
///
/// @shape  x, out [A, B, T, N], views of any strides; out may be x
/// @throws Error{kBadShape} naming the view.
void activate(const Threads& threads, Activation f, const ConstTensor& x, const MutableTensor& out);

/// out = f(gate) up: the gated unit of an MLP, element by element.
///
/// @shape  gate, up, out [A, B, T, N], views of any strides; out may be gate or up
/// @throws Error{kBadShape} naming the view.
/// @source arXiv:2002.05202
void activate_gated(const Threads& threads, Activation f, const ConstTensor& gate,
                    const ConstTensor& up, const MutableTensor& out);

}  // namespace rapt
