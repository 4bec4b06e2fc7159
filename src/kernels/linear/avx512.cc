#include "simd/vec_avx512.h"

#include "kernels/linear/linear_inl.h"

namespace rapt::avx512 {
extern const LinearKernels kLinear;
const LinearKernels kLinear = {
    Isa::kAvx512,
    kTileRows,
    kStreams,
    {multiply<float>, multiply<BF16>, multiply<F16>, multiply<std::int8_t>}};
}  // namespace rapt::avx512
