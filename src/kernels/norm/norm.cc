#include "kernels/norm/norm.h"

namespace rapt {

namespace avx512 {
extern const NormKernels kNorm;
}
namespace avx2 {
extern const NormKernels kNorm;
}
namespace scalar {
extern const NormKernels kNorm;
}

const NormKernels& norm_kernels(Isa isa) {
  for (const NormKernels* kernels : {&avx512::kNorm, &avx2::kNorm})
    if (kernels->isa <= isa) return *kernels;
  return scalar::kNorm;
}

}  // namespace rapt
