#include "rapt/norm.h"

#include "kernels/norm/norm.h"
#include "layer/each_row.h"

namespace rapt {
void rms_norm(const Threads& threads, const ConstTensor& x, const ConstTensor& weight, float eps,
              const MutableTensor& y) {
  check_extents(x, "rms_norm.x");
  check_same(y, x.extents, "rms_norm.y");
  check_same(weight, {1, 1, 1, x.extents[3]}, "rms_norm.weight");
  const NormKernels& kernels = norm_kernels(active_isa());
  for_each_row(threads, x.extents, [&](std::int64_t row) {
    kernels.rms_norm(
        {strided_row(x, row), strided_row(weight, 0), {}, strided_row(y, row), x.extents[3], eps});
  });
}

void layer_norm(const Threads& threads, const ConstTensor& x, const ConstTensor& weight,
                const ConstTensor& bias, float eps, const MutableTensor& y) {
  check_extents(x, "layer_norm.x");
  check_same(y, x.extents, "layer_norm.y");
  check_same(weight, {1, 1, 1, x.extents[3]}, "layer_norm.weight");
  if (bias.data != nullptr) check_same(bias, weight.extents, "layer_norm.bias");
  const NormKernels& kernels = norm_kernels(active_isa());
  const StridedRow<const float> bias_row = {bias.data, bias.strides[3]};
  for_each_row(threads, x.extents, [&](std::int64_t row) {
    kernels.layer_norm({strided_row(x, row), strided_row(weight, 0), bias_row, strided_row(y, row),
                        x.extents[3], eps});
  });
}

}  // namespace rapt
