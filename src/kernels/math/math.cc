#include "kernels/math/math.h"

namespace rapt {
namespace scalar {
extern const MathKernels kMath;
}
namespace avx2 {
extern const MathKernels kMath;
}
namespace avx512 {
extern const MathKernels kMath;
}

const std::vector<MathKernels>& math_table() {
  static const std::vector<MathKernels> table = {
#if defined(__x86_64__)
    avx512::kMath,
    avx2::kMath,
#endif
    scalar::kMath,
  };
  return table;
}

const MathKernels& math_kernels() { return entry_for(math_table(), active_isa()); }

}  // namespace rapt
