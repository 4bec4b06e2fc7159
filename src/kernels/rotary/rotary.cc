#include "kernels/rotary/rotary.h"

namespace rapt {

namespace avx512 {
extern const RotaryKernels kRotary;
}
namespace avx2 {
extern const RotaryKernels kRotary;
}
namespace scalar {
extern const RotaryKernels kRotary;
}

const RotaryKernels& rotary_kernels(Isa isa) {
  for (const RotaryKernels* kernels : {&avx512::kRotary, &avx2::kRotary})
    if (kernels->isa <= isa) return *kernels;
  return scalar::kRotary;
}

}  // namespace rapt
