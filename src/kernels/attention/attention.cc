#include "kernels/attention/attention.h"

#include <array>

#include "base/isa_table.h"

namespace rapt {

RAPT_FOR_EACH_ISA(RAPT_DECLARE, const AttentionKernels kAttention)

const AttentionKernels& attention_kernels(Isa isa) {
  static const std::array table = {RAPT_FOR_EACH_ISA(RAPT_ENTRY, kAttention)};
  return entry_for(table, isa);
}

}  // namespace rapt
