#include "simd/vec_neon.h"

#include "kernels/math/math_inl.h"

namespace rapt::RAPT_ISA {

extern const MathKernels kMath;
const MathKernels kMath = kernels_for(Isa::kNeon);

}  // namespace rapt::RAPT_ISA
