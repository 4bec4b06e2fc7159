#include "simd/vec_scalar.h"

#include "kernels/native/linear_inl.h"
#include "kernels/native/native_inl.h"

namespace rapt::scalar {
extern const AttentionKernels kNativeAttention;
const AttentionKernels kNativeAttention = make_native_attention_kernels(Isa::kScalar);
extern const NativeLinearKernels kNativeLinear;
const NativeLinearKernels kNativeLinear = {Isa::kScalar, kTileRows, 4, round_row, native_multiply};
}  // namespace rapt::scalar
