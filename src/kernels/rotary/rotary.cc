#include "kernels/rotary/rotary.h"

#include <array>

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
  static const std::array table = {
#if defined(__x86_64__)
    avx512::kRotary,
    avx2::kRotary,
#endif
    scalar::kRotary,
  };
  return entry_for(table, isa);
}

}  // namespace rapt
