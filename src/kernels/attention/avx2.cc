#include "simd/vec_avx2.h"

#include "kernels/attention/attention_inl.h"

namespace rapt::avx2 {
extern const AttentionKernels kAttention;
const AttentionKernels kAttention = make_attention_kernels(Isa::kAvx2);
}  // namespace rapt::avx2
