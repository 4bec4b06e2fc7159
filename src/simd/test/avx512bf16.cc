#include "simd/vec_avx512.h"

#include "simd/test/operations_inl.h"

namespace rapt::avx512bf16 {
extern const SimdOperations kSimd;
const SimdOperations kSimd = {Isa::kAvx512Bf16, kOperations};
}  // namespace rapt::avx512bf16
