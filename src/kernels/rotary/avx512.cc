#include "simd/vec_avx512.h"

#include "kernels/rotary/rotary_inl.h"

namespace rapt::avx512 {
extern const RotaryKernels kRotary;
const RotaryKernels kRotary = {Isa::kAvx512, rotate};
}  // namespace rapt::avx512
