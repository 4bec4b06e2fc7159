#include "kernels/ceilings/ceilings.h"

#include "base/isa_table.h"

namespace rapt {

RAPT_FOR_EACH_ISA(RAPT_DECLARE, const CeilingKernels kCeilings)

#if defined(__x86_64__)
namespace avx512bf16 {
extern const DotCeiling kDotCeiling;
}
const DotCeiling* dot_ceiling() {
  return active_isa() == Isa::kAvx512Bf16 ? &avx512bf16::kDotCeiling : nullptr;
}
#else
const DotCeiling* dot_ceiling() { return nullptr; }
#endif

const std::vector<CeilingKernels>& ceilings_table() {
  static const std::vector<CeilingKernels> table = {RAPT_FOR_EACH_ISA(RAPT_ENTRY, kCeilings)};
  return table;
}

}  // namespace rapt
