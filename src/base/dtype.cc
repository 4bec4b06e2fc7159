#include "rapt/dtype.h"

#include "rapt/arithmetic.h"
#include "rapt/weight.h"

namespace rapt {

const char* name(DType dtype) noexcept {
  constexpr const char* kNames[kCacheTypes] = {"f32", "bf16", "f16", "int8", "fp8 e4m3"};
  return kNames[static_cast<int>(dtype)];
}

const char* name(Arithmetic arithmetic) noexcept {
  return arithmetic == Arithmetic::kF32 ? "f32" : "native bf16";
}

const char* name(WeightType type) noexcept {
  if (type == WeightType::kInt8) return "int8";
  if (type == WeightType::kNativeBF16) return "native bf16";
  return name(static_cast<DType>(type));
}

}  // namespace rapt
