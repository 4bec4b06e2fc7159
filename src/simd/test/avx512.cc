#include "simd/vec_avx512.h"

#include "simd/test/operations_inl.h"

namespace rapt::avx512 {
extern const SimdOperations kSimd;
const SimdOperations kSimd = {Isa::kAvx512, kOperations};
}  // namespace rapt::avx512
