#include "simd/vec_avx2.h"

#include "simd/test/operations_inl.h"

namespace rapt::avx2 {
extern const SimdOperations kSimd;
const SimdOperations kSimd = {Isa::kAvx2, kOperations};
}  // namespace rapt::avx2
