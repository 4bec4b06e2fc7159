#include "simd/vec_avx512.h"

#include "kernels/activation/activation_inl.h"

namespace rapt::RAPT_ISA {

extern const ActivationKernels kActivation;
const ActivationKernels kActivation = activations_for(Isa::kAvx512);

}  // namespace rapt::RAPT_ISA
