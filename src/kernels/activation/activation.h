#pragma once

#include <cstdint>

#include "base/isa.h"
#include "kernels/strided/strided_row.h"

namespace rapt {

/// Activations of one row, by `Activation`; the formulas are in rapt/activation.h. `out` may be an
/// input.
struct ActivationKernels {
  using Plain = void (*)(StridedRow<const float> x, StridedRow<float> out,
                         std::int64_t width) noexcept;
  using Gated = void (*)(StridedRow<const float> gate, StridedRow<const float> up,
                         StridedRow<float> out, std::int64_t width) noexcept;

  Isa isa;
  Plain plain[4];
  Gated gated[4];
};

/// The kernels for `isa`, or for the best instruction set below it.
const ActivationKernels& activation_kernels(Isa isa);

}  // namespace rapt
