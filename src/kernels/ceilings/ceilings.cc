#include "kernels/ceilings/ceilings.h"

namespace rapt {
namespace scalar {
extern const CeilingKernels kCeilings;
}
namespace avx2 {
extern const CeilingKernels kCeilings;
}
namespace avx512 {
extern const CeilingKernels kCeilings;
}

const std::vector<CeilingKernels>& ceilings_table() {
  static const std::vector<CeilingKernels> table = {
#if defined(__x86_64__)
    avx512::kCeilings,
    avx2::kCeilings,
#endif
    scalar::kCeilings,
  };
  return table;
}

}  // namespace rapt
