#include "kernels/observe/observe.h"

#include <array>

#include "base/isa_table.h"

namespace rapt {

RAPT_FOR_EACH_ISA(RAPT_DECLARE, const ObserveKernels kObserve)

const ObserveKernels& observe_kernels(Isa isa) {
  static const std::array table = {RAPT_FOR_EACH_ISA(RAPT_ENTRY, kObserve)};
  return entry_for(table, isa);
}

}  // namespace rapt
