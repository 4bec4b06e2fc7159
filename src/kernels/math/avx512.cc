#include "simd/vec_avx512.h"

#include "kernels/math/math_inl.h"

namespace rapt::RAPT_ISA {

extern const MathKernels kMath;
const MathKernels kMath = kernels_for(Isa::kAvx512);

}  // namespace rapt::RAPT_ISA
