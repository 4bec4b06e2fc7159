#include "simd/vec_neon.h"

#include "kernels/rotary/rotary_inl.h"

namespace rapt::neon {
extern const RotaryKernels kRotary;
const RotaryKernels kRotary = {Isa::kNeon, rotate};
}  // namespace rapt::neon
