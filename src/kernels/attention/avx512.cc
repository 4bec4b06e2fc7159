#include "simd/vec_avx512.h"

#include "kernels/attention/attention_inl.h"

namespace rapt::avx512 {
extern const AttentionKernels kAttention;
const AttentionKernels kAttention = make_attention_kernels(Isa::kAvx512);
}  // namespace rapt::avx512
