#pragma once

#include "kernels/attention/attention.h"

namespace rapt {

/// The kernels of native bf16: their own query, scores, softmax, values, weights and pairs; the other
/// steps are those of attention_kernels(). Elements of k and v are bf16. For `isa`, or for the best
/// instruction set below it. All give the same bits: docs/numerics.md, "Native bf16".
const AttentionKernels& native_attention_kernels(Isa isa);

}  // namespace rapt
