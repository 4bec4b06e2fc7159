#include "simd/vec_avx2.h"

#include "kernels/linear/linear_inl.h"

namespace rapt::avx2 {
extern const LinearKernels kLinear;
const LinearKernels kLinear = {
    Isa::kAvx2,
    kTileRows,
    kStreams,
    {multiply<float>, multiply<BF16>, multiply<F16>, multiply<std::int8_t>}};
}  // namespace rapt::avx2
