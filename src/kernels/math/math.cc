#include "kernels/math/math.h"

#include "base/isa_table.h"

namespace rapt {

RAPT_FOR_EACH_ISA(RAPT_DECLARE, const MathKernels kMath)

const std::vector<MathKernels>& math_table() {
  static const std::vector<MathKernels> table = {RAPT_FOR_EACH_ISA(RAPT_ENTRY, kMath)};
  return table;
}

const MathKernels& math_kernels() { return entry_for(math_table(), active_isa()); }

}  // namespace rapt
