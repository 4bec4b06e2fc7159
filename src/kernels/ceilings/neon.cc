#include "simd/vec_neon.h"

#include "kernels/ceilings/ceilings_inl.h"

namespace rapt::RAPT_ISA {

extern const CeilingKernels kCeilings;
const CeilingKernels kCeilings = {Isa::kNeon, kStepFlops, multiply_add, exp2_sum, read};

}  // namespace rapt::RAPT_ISA
