#include "simd/vec_neon.h"

#include "kernels/linear/linear_inl.h"

namespace rapt::neon {
extern const LinearKernels kLinear;
const LinearKernels kLinear = {
    Isa::kNeon,
    kTileRows,
    kStreams,
    {multiply<float>, multiply<BF16>, multiply<F16>, multiply<std::int8_t>}};
}  // namespace rapt::neon
