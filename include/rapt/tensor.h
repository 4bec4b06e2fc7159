#pragma once

#include <array>
#include <cstdint>

namespace rapt {

/// Four extents or four strides, outermost axis first.
using Dims = std::array<std::int64_t, 4>;

/// Strides, in elements, of a contiguous tensor of `extents`.
constexpr Dims contiguous_strides(const Dims& extents) {
  return {extents[1] * extents[2] * extents[3], extents[2] * extents[3], extents[3], 1};
}

/// A view of four axes over memory that somebody else owns.
///
/// Element [a, b, c, d] is at `data + a s[0] + b s[1] + c s[2] + d s[3]`. Strides are in elements
/// and may be in any order, negative, or 0 (a broadcast axis). Offsets are 64-bit.
///
/// @shape  extents and strides outermost first; a tensor of fewer axes has leading extents of 1.
template <class T>
struct TensorView {
  T* data = nullptr;
  Dims extents{};
  Dims strides{};

  TensorView() = default;
  TensorView(T* data, const Dims& extents)
      : TensorView(data, extents, contiguous_strides(extents)) {}
  TensorView(T* data, const Dims& extents, const Dims& strides)
      : data(data), extents(extents), strides(strides) {}

  /// A view of mutable elements reads as a view of constant ones.
  operator TensorView<const T>() const { return {data, extents, strides}; }

  T& at(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) const {
    return data[a * strides[0] + b * strides[1] + c * strides[2] + d * strides[3]];
  }
};

using ConstTensor = TensorView<const float>;
using MutableTensor = TensorView<float>;

}  // namespace rapt
