#include "simd/vec_scalar.h"

#include "kernels/norm/norm_inl.h"

namespace rapt::scalar {
extern const NormKernels kNorm;
const NormKernels kNorm = {Isa::kScalar, rms_norm, layer_norm};
}  // namespace rapt::scalar
