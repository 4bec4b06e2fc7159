#include "rapt/dtype.h"

#include "rapt/weight.h"

namespace rapt {

const char* name(DType dtype) noexcept {
  switch (dtype) {
    case DType::kBF16:
      return "bf16";
    case DType::kF16:
      return "f16";
    default:
      return "f32";
  }
}

const char* name(WeightType type) noexcept {
  constexpr const char* kNames[kWeightTypes] = {"f32", "bf16", "f16", "int8"};
  return kNames[static_cast<int>(type)];
}

}  // namespace rapt
