#include "simd/vec_avx2.h"

#include "kernels/ceilings/ceilings_inl.h"

namespace rapt::RAPT_ISA {

extern const CeilingKernels kCeilings;
const CeilingKernels kCeilings = {Isa::kAvx2, kStepFlops, multiply_add, exp2_sum, read};

}  // namespace rapt::RAPT_ISA
