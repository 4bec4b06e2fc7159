#include "simd/vec_scalar.h"

#include "kernels/attention/attention_inl.h"

namespace rapt::scalar {
extern const AttentionKernels kAttention;
const AttentionKernels kAttention = make_attention_kernels(Isa::kScalar);
}  // namespace rapt::scalar
