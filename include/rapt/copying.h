#pragma once

#include "rapt/tensor.h"

namespace rapt {

/// How far a head's OV circuit copies: whether attending to a token makes that token likelier.
///
///     score = sum eig / sum |eig|,   eig of  W_V S W_O [Dv, Dv],   S = W_E^T W_U [d, d]
///
/// These are the eigenvalues other than 0 of W_U W_O W_V W_E^T, tokens to logits. 1 copies what it
/// attends to, -1 makes it unlikelier, random weights are near 0. Weights alone: norms between them are
/// left out, and so is what comes through other layers.
///
/// @shape  w_v [1, 1, Dv, d], of the head's kv head; w_o [1, 1, d, Dv], its columns of the output
///         projection; between [1, 1, d, d] S, or empty for the identity.
/// Eigenvalues are Eigen's, compiled for the machine's base instruction set: another version or
/// compiler may give the last bits otherwise.
/// @return NaN if all eigenvalues are 0.
/// @throws Error{kBadShape} naming the view; Error{kBadArgument} naming it if a weight is not
///         finite.
/// @cost   2 Dv d (d + Dv) + 10 Dv^3 flops of f64.
/// @source Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
double copying_score(const ConstTensor& w_v, const ConstTensor& w_o,
                     const ConstTensor& between = {});

}  // namespace rapt
