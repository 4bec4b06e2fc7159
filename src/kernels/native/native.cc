#include "kernels/native/native.h"

#include <array>

#include "base/isa_table.h"
#include "kernels/native/linear.h"

namespace rapt {

RAPT_FOR_EACH_NATIVE_ISA(RAPT_DECLARE, const AttentionKernels kNativeAttention)
RAPT_FOR_EACH_NATIVE_ISA(RAPT_DECLARE, const NativeLinearKernels kNativeLinear)

const AttentionKernels& native_attention_kernels(Isa isa) {
  static const std::array table = {RAPT_FOR_EACH_NATIVE_ISA(RAPT_ENTRY, kNativeAttention)};
  return entry_for(table, isa);
}

const NativeLinearKernels& native_linear_kernels(Isa isa) {
  static const std::array table = {RAPT_FOR_EACH_NATIVE_ISA(RAPT_ENTRY, kNativeLinear)};
  return entry_for(table, isa);
}

}  // namespace rapt
