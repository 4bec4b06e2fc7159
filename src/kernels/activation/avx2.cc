#include "simd/vec_avx2.h"

#include "kernels/activation/activation_inl.h"

namespace rapt::RAPT_ISA {

extern const ActivationKernels kActivation;
const ActivationKernels kActivation = activations_for(Isa::kAvx2);

}  // namespace rapt::RAPT_ISA
