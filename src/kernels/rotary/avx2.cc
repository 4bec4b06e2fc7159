#include "simd/vec_avx2.h"

#include "kernels/rotary/rotary_inl.h"

namespace rapt::avx2 {
extern const RotaryKernels kRotary;
const RotaryKernels kRotary = {Isa::kAvx2, rotate};
}  // namespace rapt::avx2
