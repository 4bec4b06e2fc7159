#pragma once

#include <cstdint>

#include "base/isa.h"
#include "kernels/strided/strided_row.h"

namespace rapt {

/// A norm of one row; `y` may be `x`. The formulas are in rapt/norm.h.
struct NormRow {
  StridedRow<const float> x, weight, bias;  ///< without data, the bias is +0
  StridedRow<float> y;
  std::int64_t width;
  float eps;
};

struct NormKernels {
  Isa isa;
  void (*rms_norm)(const NormRow& row) noexcept;
  void (*layer_norm)(const NormRow& row) noexcept;
};

/// The kernels for `isa`, or for the best instruction set below it.
const NormKernels& norm_kernels(Isa isa);

}  // namespace rapt
