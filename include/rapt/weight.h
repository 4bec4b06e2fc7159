#pragma once

#include <cstddef>
#include <cstdint>

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

}  // namespace rapt
