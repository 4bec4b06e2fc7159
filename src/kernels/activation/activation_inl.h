#pragma once

// Include after simd/vec_<isa>.h.

#include "kernels/activation/activation.h"
#include "kernels/strided/strided_inl.h"
#include "simd/gelu_inl.h"
#include "simd/math_inl.h"

namespace rapt::RAPT_ISA {
namespace {

/// x where it is NaN.
inline F32x16 relu(F32x16 x) { return max(zero(), x); }

template <F32x16 (*kFunction)(F32x16)>
void activate(StridedRow<const float> x, StridedRow<float> out, std::int64_t width) noexcept {
  for (std::int64_t e = 0; e < width; e += 16)
    store_lanes(out.data + e * out.stride, out.stride, width - e,
                kFunction(load_lanes(x.data + e * x.stride, x.stride, width - e)));
}

template <F32x16 (*kFunction)(F32x16)>
void activate_gated(StridedRow<const float> gate, StridedRow<const float> up, StridedRow<float> out,
                    std::int64_t width) noexcept {
  for (std::int64_t e = 0; e < width; e += 16)
    store_lanes(out.data + e * out.stride, out.stride, width - e,
                mul(kFunction(load_lanes(gate.data + e * gate.stride, gate.stride, width - e)),
                    load_lanes(up.data + e * up.stride, up.stride, width - e)));
}

constexpr ActivationKernels activations_for(Isa isa) {
  return {isa,
          {activate<silu>, activate<gelu>, activate<gelu_tanh>, activate<relu>},
          {activate_gated<silu>, activate_gated<gelu>, activate_gated<gelu_tanh>,
           activate_gated<relu>}};
}

}  // namespace
}  // namespace rapt::RAPT_ISA
