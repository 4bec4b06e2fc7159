#include "simd/vec_avx512.h"

#include "kernels/norm/norm_inl.h"

namespace rapt::avx512 {
extern const NormKernels kNorm;
const NormKernels kNorm = {Isa::kAvx512, rms_norm, layer_norm};
}  // namespace rapt::avx512
