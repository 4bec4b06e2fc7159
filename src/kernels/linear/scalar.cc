#include "simd/vec_scalar.h"

#include "kernels/linear/linear_inl.h"

namespace rapt::scalar {
extern const LinearKernels kLinear;
const LinearKernels kLinear = {
    Isa::kScalar,
    kTileRows,
    kStreams,
    {multiply<float>, multiply<BF16>, multiply<F16>, multiply<std::int8_t>}};
}  // namespace rapt::scalar
