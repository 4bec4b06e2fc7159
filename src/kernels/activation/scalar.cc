#include "simd/vec_scalar.h"

#include "kernels/activation/activation_inl.h"

namespace rapt::RAPT_ISA {

extern const ActivationKernels kActivation;
const ActivationKernels kActivation = activations_for(Isa::kScalar);

}  // namespace rapt::RAPT_ISA
