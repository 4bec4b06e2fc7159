#pragma once

// Include after simd/vec_<isa>.h.

#include "kernels/norm/norm.h"
#include "kernels/strided/strided_inl.h"

namespace rapt::RAPT_ISA {
namespace {

inline F32x16 lanes(const StridedRow<const float>& row, std::int64_t e,
                    std::int64_t width) noexcept {
  return load_lanes(row.data + e * row.stride, row.stride, width - e);
}

inline F32x16 inverse_root(float sum_of_squares, const NormRow& row) noexcept {
  const float mean_square = sum_of_squares / static_cast<float>(row.width);
  return div(broadcast(1.0f), sqrt(broadcast(mean_square + row.eps)));
}

void rms_norm(const NormRow& row) noexcept {
  F32x16 squares = zero();
  for (std::int64_t e = 0; e < row.width; e += 16) {
    const F32x16 x = lanes(row.x, e, row.width);
    squares = fma(x, x, squares);
  }
  const F32x16 r = inverse_root(reduce_add(squares), row);
  for (std::int64_t e = 0; e < row.width; e += 16) {
    const F32x16 y = mul(mul(lanes(row.x, e, row.width), r), lanes(row.weight, e, row.width));
    store_lanes(row.y.data + e * row.y.stride, row.y.stride, row.width - e, y);
  }
}

void layer_norm(const NormRow& row) noexcept {
  F32x16 sums = zero();
  for (std::int64_t e = 0; e < row.width; e += 16) sums = add(sums, lanes(row.x, e, row.width));
  const F32x16 mean = broadcast(reduce_add(sums) / static_cast<float>(row.width));
  F32x16 squares = zero();
  for (std::int64_t e = 0; e < row.width; e += 16) {
    const int count = row.width - e < 16 ? static_cast<int>(row.width - e) : 16;
    const F32x16 deviation =
        zero_unless(lanes_of((1u << count) - 1), sub(lanes(row.x, e, row.width), mean));
    squares = fma(deviation, deviation, squares);
  }
  const F32x16 r = inverse_root(reduce_add(squares), row);
  for (std::int64_t e = 0; e < row.width; e += 16) {
    const F32x16 bias = row.bias.data == nullptr ? zero() : lanes(row.bias, e, row.width);
    const F32x16 y =
        fma(mul(sub(lanes(row.x, e, row.width), mean), r), lanes(row.weight, e, row.width), bias);
    store_lanes(row.y.data + e * row.y.stride, row.y.stride, row.width - e, y);
  }
}

}  // namespace
}  // namespace rapt::RAPT_ISA
