#include "simd/vec_neon.h"

#include "kernels/attention/attention_inl.h"

namespace rapt::neon {
extern const AttentionKernels kAttention;
const AttentionKernels kAttention = make_attention_kernels(Isa::kNeon);
}  // namespace rapt::neon
