#include "kernels/rotary/rotary.h"

#include <array>

#include "base/isa_table.h"

namespace rapt {

RAPT_FOR_EACH_ISA(RAPT_DECLARE, const RotaryKernels kRotary)

const RotaryKernels& rotary_kernels(Isa isa) {
  static const std::array table = {RAPT_FOR_EACH_ISA(RAPT_ENTRY, kRotary)};
  return entry_for(table, isa);
}

}  // namespace rapt
