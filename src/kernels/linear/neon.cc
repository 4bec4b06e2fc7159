#include "simd/vec_neon.h"

#include "kernels/linear/linear_inl.h"

namespace rapt::neon {
extern const LinearKernels kLinear;
const LinearKernels kLinear = {Isa::kNeon, kTileRows, kStreams, multiply};
}  // namespace rapt::neon
