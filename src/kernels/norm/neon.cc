#include "simd/vec_neon.h"

#include "kernels/norm/norm_inl.h"

namespace rapt::neon {
extern const NormKernels kNorm;
const NormKernels kNorm = {Isa::kNeon, rms_norm, layer_norm};
}  // namespace rapt::neon
