#include "rapt/dtype.h"

#include "rapt/weight.h"

namespace rapt {

const char* name(DType dtype) noexcept {
  constexpr const char* kNames[kDTypes] = {"f32", "bf16", "f16"};
  return kNames[static_cast<int>(dtype)];
}

const char* name(WeightType type) noexcept {
  return type == WeightType::kInt8 ? "int8" : name(static_cast<DType>(type));
}

}  // namespace rapt
