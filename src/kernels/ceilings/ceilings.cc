#include "kernels/ceilings/ceilings.h"

#include "base/isa_table.h"

namespace rapt {

RAPT_FOR_EACH_ISA(RAPT_DECLARE, const CeilingKernels kCeilings)

const std::vector<CeilingKernels>& ceilings_table() {
  static const std::vector<CeilingKernels> table = {RAPT_FOR_EACH_ISA(RAPT_ENTRY, kCeilings)};
  return table;
}

}  // namespace rapt
