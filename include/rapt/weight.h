#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "rapt/dtype.h"
#include "rapt/tensor.h"

namespace rapt {

/// How a linear map keeps its weights. Of an int8 weight, w = scale q with one scale an output and q
/// in [-127, 127].
enum class WeightType { kF32, kBF16, kF16, kInt8 };
inline constexpr int kWeightTypes = 4;

/// "f32", "bf16", "f16" or "int8".
const char* name(WeightType type) noexcept;

/// Bytes of a weight, without its share of a scale.
constexpr std::size_t size_of(WeightType type) {
  return type == WeightType::kF32 ? 4 : type == WeightType::kInt8 ? 1 : 2;
}

/// A view of four axes over weights of any element type.
struct WeightView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  Dims extents{};
  Dims strides{};  ///< in elements

  WeightView() = default;
  WeightView(const void* data, DType dtype, const Dims& extents)
      : data(data), dtype(dtype), extents(extents), strides(contiguous_strides(extents)) {}
  template <std::convertible_to<ConstTensor> X>
  WeightView(const X& x) : WeightView(ConstTensor(x), DType::kF32) {}
  WeightView(const TensorView<const BF16>& x) : WeightView(x, DType::kBF16) {}
  WeightView(const TensorView<const F16>& x) : WeightView(x, DType::kF16) {}

  /// The same weights from row `first` of axis 2 on.
  WeightView rows(std::int64_t first, std::int64_t count) const {
    WeightView slice = *this;
    slice.data = static_cast<const std::byte*>(data) + first * strides[2] * size_of(dtype);
    slice.extents[2] = count;
    return slice;
  }

 private:
  template <class T>
  WeightView(const TensorView<T>& x, DType dtype)
      : data(x.data), dtype(dtype), extents(x.extents), strides(x.strides) {}
};

/// f(view), with the view of the elements' own type.
template <class F>
decltype(auto) visit(const WeightView& x, F&& f) {
  const auto typed = [&]<class T>(const T* data) {
    return f(TensorView<const T>(data, x.extents, x.strides));
  };
  switch (x.dtype) {
    case DType::kBF16:
      return typed(static_cast<const BF16*>(x.data));
    case DType::kF16:
      return typed(static_cast<const F16*>(x.data));
    default:
      return typed(static_cast<const float*>(x.data));
  }
}

}  // namespace rapt
