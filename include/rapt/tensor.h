#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "rapt/dtype.h"

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

/// A view of elements of any storage type, made from whatever converts to a view of one of them.
///
/// @tparam Memory void, or const void where elements are only read
template <class Memory>
struct AnyView {
  template <class T>
  using Element = std::conditional_t<std::is_const_v<Memory>, const T, T>;
  template <class T>
  using View = TensorView<Element<T>>;

  Memory* data = nullptr;
  DType dtype = DType::kF32;
  Dims extents{};
  Dims strides{};

  AnyView() = default;
  AnyView(Memory* data, DType dtype, const Dims& extents)
      : AnyView(data, dtype, extents, contiguous_strides(extents)) {}
  AnyView(Memory* data, DType dtype, const Dims& extents, const Dims& strides)
      : data(data), dtype(dtype), extents(extents), strides(strides) {}
  template <std::convertible_to<View<float>> V>
  AnyView(V&& view) : AnyView(View<float>(std::forward<V>(view)), DType::kF32) {}
  template <std::convertible_to<View<BF16>> V>
  AnyView(V&& view) : AnyView(View<BF16>(std::forward<V>(view)), DType::kBF16) {}
  template <std::convertible_to<View<F16>> V>
  AnyView(V&& view) : AnyView(View<F16>(std::forward<V>(view)), DType::kF16) {}

  template <class T>
  AnyView(T* data, const Dims& extents) : AnyView(TensorView<T>(data, extents)) {}
  template <class T>
  AnyView(T* data, const Dims& extents, const Dims& strides)
      : AnyView(TensorView<T>(data, extents, strides)) {}

  operator AnyView<const void>() const { return {data, dtype, extents, strides}; }

  /// The view of its elements. @pre T is their type
  template <class T>
  View<T> as() const {
    return {static_cast<Element<T>*>(data), extents, strides};
  }

  Memory* address(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) const {
    const std::int64_t offset = a * strides[0] + b * strides[1] + c * strides[2] + d * strides[3];
    return static_cast<Element<char>*>(data) + offset * size_of(dtype);
  }

  /// An element as an f32, exactly.
  float at(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) const {
    return with_type(
        dtype, [&]<class T>(T) { return to_float(*static_cast<const T*>(address(a, b, c, d))); });
  }

  /// Sets an element to x, rounded to its type.
  void set(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d, float x) const
      requires(!std::is_const_v<Memory>) {
    with_type(dtype, [&]<class T>(T) { *static_cast<T*>(address(a, b, c, d)) = from_float<T>(x); });
  }

 private:
  template <class T>
  AnyView(const TensorView<T>& view, DType dtype)
      : AnyView(view.data, dtype, view.extents, view.strides) {}
};

using AnyConstTensor = AnyView<const void>;
using AnyTensor = AnyView<void>;

/// f(view), with the view of the elements' own type.
template <class Memory, class F>
decltype(auto) visit(const AnyView<Memory>& x, F&& f) {
  return with_type(x.dtype, [&]<class T>(T) { return f(x.template as<T>()); });
}

}  // namespace rapt
