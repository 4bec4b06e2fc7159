#include "kernels/attention/attention.h"

#include <array>

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

const AttentionKernels& attention_kernels(Isa isa) {
  static const std::array table = {
#if defined(__x86_64__)
    avx512::kAttention,
    avx2::kAttention,
#endif
    scalar::kAttention,
  };
  return entry_for(table, isa);
}

}  // namespace rapt
