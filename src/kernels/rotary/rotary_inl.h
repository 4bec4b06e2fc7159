#pragma once

// Include after simd/vec_<isa>.h.

#include "kernels/rotary/rotary.h"
#include "kernels/strided/strided_inl.h"

namespace rapt::RAPT_ISA {
namespace {

void rotate(const RotaryToken& token) noexcept {
  const F32x16 minus_one = broadcast(-1.0f);
  const std::int64_t x_step = token.step * token.x_stride, y_step = token.step * token.y_stride;
  for (std::int64_t i = 0; i < token.pairs; i += 16) {
    const std::int64_t count = token.pairs - i;
    const F32x16 cos = load_lanes(token.cos + i, 1, count);
    const F32x16 sin = load_lanes(token.sin + i, 1, count);
    for (std::int64_t h = 0; h < token.heads; ++h) {
      const float* x = token.x + h * token.x_head_stride + i * x_step;
      float* y = token.y + h * token.y_head_stride + i * y_step;
      const F32x16 x0 = load_lanes(x, x_step, count);
      const F32x16 x1 = load_lanes(x + token.offset * token.x_stride, x_step, count);
      store_lanes(y, y_step, count, fma(x0, cos, mul(minus_one, mul(x1, sin))));
      store_lanes(y + token.offset * token.y_stride, y_step, count, fma(x1, cos, mul(x0, sin)));
    }
  }
}

}  // namespace
}  // namespace rapt::RAPT_ISA
