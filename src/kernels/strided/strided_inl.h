#pragma once

// Vectors of 16 elements of a row of any stride. Include after simd/vec_<isa>.h.

#include <cstdint>
#include <limits>

namespace rapt::RAPT_ISA {
namespace {

/// Up to 16 elements, `stride` apart; +0 in the lanes from `count` on.
inline F32x16 load_lanes(const float* p, std::int64_t stride, std::int64_t count) noexcept {
  if (stride == 1 && count >= 16) return load(p);
  float lanes[16] = {};
  const std::int64_t n = count < 16 ? count : 16;
  for (std::int64_t i = 0; i < n; ++i) lanes[i] = p[i * stride];
  return load(lanes);
}

/// Writes up to 16 lanes, `stride` apart. Every NaN becomes 0x7FC00000: which NaN an operation
/// gives differs between instruction sets.
inline void store_lanes(float* p, std::int64_t stride, std::int64_t count, F32x16 a) noexcept {
  a = select(equal(a, a), a, broadcast(std::numeric_limits<float>::quiet_NaN()));
  if (stride == 1 && count >= 16) {
    store(p, a);
    return;
  }
  float lanes[16];
  store(lanes, a);
  const std::int64_t n = count < 16 ? count : 16;
  for (std::int64_t i = 0; i < n; ++i) p[i * stride] = lanes[i];
}

}  // namespace
}  // namespace rapt::RAPT_ISA
