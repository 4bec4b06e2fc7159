#include "simd/vec_scalar.h"

#include "simd/test/operations_inl.h"

namespace rapt::scalar {
extern const SimdOperations kSimd;
const SimdOperations kSimd = {Isa::kScalar, kOperations};
}  // namespace rapt::scalar
