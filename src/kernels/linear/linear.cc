#include "kernels/linear/linear.h"

#include <array>

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
  static const std::array table = {
#if defined(__x86_64__)
    avx512::kLinear,
    avx2::kLinear,
#endif
    scalar::kLinear,
  };
  return entry_for(table, isa);
}

}  // namespace rapt
