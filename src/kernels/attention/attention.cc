#include "kernels/attention/attention.h"

namespace rapt {

namespace avx512 {
extern const AttentionKernels kAttention;
}
namespace avx2 {
extern const AttentionKernels kAttention;
}
namespace scalar {
extern const AttentionKernels kAttention;
}

const std::array<const AttentionKernels*, 3>& attention_kernel_table() {
  static constexpr std::array<const AttentionKernels*, 3> table = {
      &avx512::kAttention, &avx2::kAttention, &scalar::kAttention};
  return table;
}

const AttentionKernels& attention_kernels(Isa isa) {
  for (const AttentionKernels* kernels : attention_kernel_table())
    if (kernels->isa <= isa) return *kernels;
  return scalar::kAttention;
}

}  // namespace rapt
