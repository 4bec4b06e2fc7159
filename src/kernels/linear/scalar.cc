#include "simd/vec_scalar.h"

#include "kernels/linear/linear_inl.h"

namespace rapt::scalar {
extern const LinearKernels kLinear;
const LinearKernels kLinear = {Isa::kScalar, kTileRows, kStreams, multiply};
}  // namespace rapt::scalar
