#include "rapt/dtype.h"

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

}  // namespace rapt
