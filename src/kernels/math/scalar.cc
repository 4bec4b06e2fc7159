#include "simd/vec_scalar.h"

#include "kernels/math/math_inl.h"

namespace rapt::RAPT_ISA {

extern const MathKernels kMath;
const MathKernels kMath = kernels_for(Isa::kScalar);

}  // namespace rapt::RAPT_ISA
