#include "kernels/norm/norm.h"

#include <array>

#include "base/isa_table.h"

namespace rapt {

RAPT_FOR_EACH_ISA(RAPT_DECLARE, const NormKernels kNorm)

const NormKernels& norm_kernels(Isa isa) {
  static const std::array table = {RAPT_FOR_EACH_ISA(RAPT_ENTRY, kNorm)};
  return entry_for(table, isa);
}

}  // namespace rapt
