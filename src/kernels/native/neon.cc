#include "simd/vec_neon.h"

#include "kernels/native/linear_inl.h"
#include "kernels/native/native_inl.h"

namespace rapt::neon {
extern const AttentionKernels kNativeAttention;
const AttentionKernels kNativeAttention = make_native_attention_kernels(Isa::kNeon);
extern const NativeLinearKernels kNativeLinear;
const NativeLinearKernels kNativeLinear = {Isa::kNeon, kTileRows, 4, round_row, native_multiply};
}  // namespace rapt::neon
