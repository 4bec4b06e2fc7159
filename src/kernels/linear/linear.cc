#include "kernels/linear/linear.h"

#include <array>

#include "base/isa_table.h"

namespace rapt {

RAPT_FOR_EACH_ISA(RAPT_DECLARE, const LinearKernels kLinear)

const LinearKernels& linear_kernels(Isa isa) {
  static const std::array table = {RAPT_FOR_EACH_ISA(RAPT_ENTRY, kLinear)};
  return entry_for(table, isa);
}

}  // namespace rapt
