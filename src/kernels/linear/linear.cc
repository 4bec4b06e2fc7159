#include "kernels/linear/linear.h"

namespace rapt {

namespace avx512 {
extern const LinearKernels kLinear;
}
namespace avx2 {
extern const LinearKernels kLinear;
}
namespace scalar {
extern const LinearKernels kLinear;
}

const LinearKernels& linear_kernels(Isa isa) {
  for (const LinearKernels* kernels : {&avx512::kLinear, &avx2::kLinear})
    if (kernels->isa <= isa) return *kernels;
  return scalar::kLinear;
}

}  // namespace rapt
