#pragma once

#include <cstdint>
#include <memory>

#include "rapt/scratch.h"
#include "rapt/tensor.h"
#include "rapt/threads.h"

namespace rapt {

/// A linear map with its weight packed once.
///
///     y_tn = sum_k x_tk W_nk + bias_n
///
/// Each output is one chain of fma over its input, k ascending from +0, then one addition of the
/// bias: the same bits for any number of rows, threads, blocking and instruction set.
///
/// @shape  weight [1, 1, N, K], bias [1, 1, 1, N]; views of any strides
/// @error  |y - y64| <= (K + 1) 2^-24 (sum_k |x_tk W_nk| + |bias_n|), to first order.
class Linear {
 public:
  /// Copies `weight` into tiles [group of 16 outputs][K][16 outputs], and `bias`; without data,
  /// there is no bias and none is added.
  /// @throws Error{kBadShape} naming the view, Error{kOutOfMemory}.
  explicit Linear(const ConstTensor& weight, const ConstTensor& bias = {});

  std::int64_t inputs() const { return inputs_; }    ///< K
  std::int64_t outputs() const { return outputs_; }  ///< N

  /// y = x W^T + bias.
  ///
  /// @shape  x [A, B, T, K]   y [A, B, T, N], views of any strides; y overlaps no input
  /// @throws Error{kBadShape} naming the view.
  /// @cost   2 A B T N K flops. Allocates nothing once `scratch` is warm.
  void operator()(const Threads& threads, const ConstTensor& x, const MutableTensor& y,
                  Scratch& scratch) const;

  /// y = x W[:, first : first + Kx]^T: what these inputs contribute to the output, without bias.
  /// The inputs of one attention head, say.
  ///
  /// @shape  x [A, B, T, Kx]   y [A, B, T, N]
  /// @throws Error{kBadShape} naming the view; Error{kBadArgument} unless first + Kx <= K.
  void partial(const Threads& threads, std::int64_t first, const ConstTensor& x,
               const MutableTensor& y, Scratch& scratch) const;

 private:
  struct Free {
    void operator()(float* memory) const noexcept;
  };
  void multiply(const Threads& threads, std::int64_t first, const float* bias, const ConstTensor& x,
                const MutableTensor& y, Scratch& scratch) const;

  std::int64_t inputs_;
  std::int64_t outputs_;
  std::unique_ptr<float, Free> tiles_;
  std::unique_ptr<float, Free> bias_;  // padded with zeros to whole groups
};

}  // namespace rapt
