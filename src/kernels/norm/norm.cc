#include "kernels/norm/norm.h"

#include <array>

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
  static const std::array table = {
#if defined(__x86_64__)
    avx512::kNorm,
    avx2::kNorm,
#endif
    scalar::kNorm,
  };
  return entry_for(table, isa);
}

}  // namespace rapt
