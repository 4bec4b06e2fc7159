#include "simd/vec_neon.h"

#include "kernels/activation/activation_inl.h"

namespace rapt::RAPT_ISA {

extern const ActivationKernels kActivation;
const ActivationKernels kActivation = activations_for(Isa::kNeon);

}  // namespace rapt::RAPT_ISA
