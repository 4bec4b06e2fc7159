#include "simd/vec_avx2.h"

#include "kernels/norm/norm_inl.h"

namespace rapt::avx2 {
extern const NormKernels kNorm;
const NormKernels kNorm = {Isa::kAvx2, rms_norm, layer_norm};
}  // namespace rapt::avx2
