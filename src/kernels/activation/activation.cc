#include "kernels/activation/activation.h"

#include <array>

#include "base/isa_table.h"

namespace rapt {

RAPT_FOR_EACH_ISA(RAPT_DECLARE, const ActivationKernels kActivation)

const ActivationKernels& activation_kernels(Isa isa) {
  static const std::array table = {RAPT_FOR_EACH_ISA(RAPT_ENTRY, kActivation)};
  return entry_for(table, isa);
}

}  // namespace rapt
