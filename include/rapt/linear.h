#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "rapt/scratch.h"
#include "rapt/tensor.h"
#include "rapt/threads.h"
#include "rapt/weight.h"

namespace rapt {

/// A linear map with its weight packed once.
///
///     y_tn = sum_k x_tk W_nk + bias_n
///
/// Each output is one chain of fma over its input, k ascending from +0, then one addition of the
/// bias: the same bits for any number of rows, threads, blocking and instruction set. Weights in
/// bf16 or f16 give the bits of the same numbers in f32.
///
/// In native bf16, x_tk is rounded to bf16, nearest, ties to even, and the chain goes over pairs
/// (k, k + 1), k even, ascending: the odd element's fma, then the even one's, denormals flushed
/// (docs/numerics.md, "Native bf16"). Then the bias, as above.
///
/// In int8, W_nk = scale_n q_nk: the chain is that of x_tk and q_nk, then comes one fma with scale_n
/// and the bias, or a product where there is no bias. The chain can be as large as 127 sum_k |x_tk|:
/// where that passes the largest f32 an output may be infinite or NaN, though y itself would not be.
///
/// @shape  weight [1, 1, N, K], bias [1, 1, 1, N]; views of any strides
/// @error  |y - y64| <= (K + 1) 2^-24 (sum_k |x_tk W_nk| + |bias_n|), to first order, W as kept.
///         Native bf16 adds 2^-8 sum_k |x_tk W_nk|; denormals are lost. int8 keeps W within
///         scale_n / 2 = max_k |W_nk| / 254.
class Linear {
 public:
  /// Copies `weight` into tiles [group of 16 outputs][K][16 outputs], and `bias`; without data,
  /// there is no bias and none is added. Weights are kept in their own type or in `type`: the
  /// nearest number of it, ties to even, infinity beyond the largest.
  /// @throws Error{kBadShape} naming the view, Error{kOutOfMemory}; Error{kBadArgument} naming the
  ///         output, if a weight that becomes int8 is not finite.
  /// @{
  explicit Linear(const AnyConstTensor& weight, const ConstTensor& bias = {});
  Linear(const AnyConstTensor& weight, const ConstTensor& bias, WeightType type);
  /// @}

  std::int64_t inputs() const { return inputs_; }    ///< K
  std::int64_t outputs() const { return outputs_; }  ///< N
  WeightType type() const { return type_; }

  /// Memory of the weights, their scales and the bias, padded to whole groups.
  std::size_t size_bytes() const;

  /// size_bytes() of a map of this shape without bias.
  static std::size_t bytes_of(std::int64_t outputs, std::int64_t inputs, WeightType type);

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
  /// @throws Error{kBadShape} naming the view; Error{kBadArgument} unless first + Kx <= K, and, in native
  ///         bf16, if that cuts a pair of inputs.
  void partial(const Threads& threads, std::int64_t first, const ConstTensor& x,
               const MutableTensor& y, Scratch& scratch) const;

 private:
  struct Free {
    void operator()(void* memory) const noexcept;
  };
  void multiply(const Threads& threads, std::int64_t first, const float* bias, const ConstTensor& x,
                const MutableTensor& y, Scratch& scratch) const;

  std::int64_t inputs_;
  std::int64_t outputs_;
  WeightType type_;
  std::unique_ptr<std::byte, Free> tiles_;
  std::unique_ptr<float, Free> scale_;  // of int8; padded with zeros to whole groups
  std::unique_ptr<float, Free> bias_;   // the same
};

}  // namespace rapt
