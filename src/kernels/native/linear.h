#pragma once

#include "kernels/linear/linear.h"

namespace rapt {

/// Linear maps in native bf16. A block is that of LinearKernels, with these differences: tiles are
/// [group][pair of inputs][16 outputs][2] in bf16, the depth is even, and a piece of x is what
/// `round_row` made of it.
struct NativeLinearKernels {
  Isa isa;
  int tile_rows, tile_groups;  ///< blocks of a multiple of these waste nothing

  /// Rounds the `count` inputs of a row of a piece to bf16, in their place; an odd count is padded by 0.
  void (*round_row)(float* x, std::int64_t count) noexcept;

  /// y[r][16 g + lane] = c + bias, c the chain over pairs, ascending, from +0; the odd step first.
  void (*multiply)(const LinearBlock& block) noexcept;
};

/// The kernels for `isa`, or for the best instruction set below it.
const NativeLinearKernels& native_linear_kernels(Isa isa);

}  // namespace rapt
