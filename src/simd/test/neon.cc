#include "simd/vec_neon.h"

#include "simd/test/operations_inl.h"

namespace rapt::neon {
extern const SimdOperations kSimd;
const SimdOperations kSimd = {Isa::kNeon, kOperations};
}  // namespace rapt::neon
