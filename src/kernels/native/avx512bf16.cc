#include "simd/vec_avx512.h"

#include "kernels/native/linear_inl.h"
#include "kernels/native/native_inl.h"

namespace rapt::avx512bf16 {
extern const AttentionKernels kNativeAttention;
const AttentionKernels kNativeAttention = make_native_attention_kernels(Isa::kAvx512Bf16);
extern const NativeLinearKernels kNativeLinear;
const NativeLinearKernels kNativeLinear = {Isa::kAvx512Bf16, kTileRows, 4, round_row,
                                           native_multiply};
}  // namespace rapt::avx512bf16
