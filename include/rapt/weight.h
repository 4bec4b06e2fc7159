#pragma once

#include <cstdint>

#include "rapt/dtype.h"

namespace rapt {

/// How a linear map keeps its weights: in a DType; in int8, w = scale q with one scale an output and
/// q in [-127, 127]; or in native bf16, which is bf16 in pairs for Arithmetic::kNativeBF16, and computed
/// so.
enum class WeightType {
  kF32 = static_cast<int>(DType::kF32),
  kBF16 = static_cast<int>(DType::kBF16),
  kF16 = static_cast<int>(DType::kF16),
  kInt8 = kDTypes,
  kNativeBF16
};
inline constexpr int kWeightTypes = kDTypes + 2;

constexpr WeightType weight_type(DType dtype) { return static_cast<WeightType>(dtype); }

/// "f32", "bf16", "f16", "int8" or "native bf16".
const char* name(WeightType type) noexcept;

/// f(T{}), T the C++ type of a weight.
template <class F>
constexpr decltype(auto) with_type(WeightType type, F&& f) {
  if (type == WeightType::kInt8) return f(std::int8_t{});
  if (type == WeightType::kNativeBF16) return f(BF16{});
  return with_type(static_cast<DType>(type), f);
}

/// Bytes of a weight, without its share of a scale.
constexpr std::int64_t size_of(WeightType type) {
  return with_type(type, [](auto x) { return static_cast<std::int64_t>(sizeof x); });
}

}  // namespace rapt
