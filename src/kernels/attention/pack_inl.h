#pragma once

// Queries, keys and values in the layout of the kernels. Steps are those of docs/numerics.md.

#include "kernels/attention/tile_inl.h"

namespace rapt::RAPT_ISA {
namespace {

inline void scale_query(const float* x, std::int64_t stride, std::int64_t dim, float scale,
                        float* q) noexcept {
  std::int64_t e = 0;
  if (stride == 1)
    for (; e + 16 <= dim; e += 16) store(q + e, mul(load(x + e), broadcast(scale)));
  for (; e < dim; ++e) q[e] = scale * x[e * stride];
}

inline void pack_keys(const float* k, std::int64_t key_stride, std::int64_t feature_stride,
                      int keys, std::int64_t dim, float* out) noexcept {
  for (int j = 0; j < keys; j += kGroupKeys, out += dim * kGroupKeys) {
    const float* group = k + j * key_stride;
    std::int64_t e = 0;
    if (feature_stride == 1 && keys - j >= kGroupKeys)
      for (; e + 8 <= dim; e += 8) transpose16x8(group + e, key_stride, out + e * kGroupKeys);
    for (; e < dim; ++e)
      for (int lane = 0; lane < kGroupKeys; ++lane)
        out[e * kGroupKeys + lane] =
            j + lane < keys ? group[lane * key_stride + e * feature_stride] : 0.0f;
  }
}

inline std::uint32_t pack_values(const float* v, std::int64_t key_stride,
                                 std::int64_t feature_stride, int keys, std::int64_t dim,
                                 std::int64_t v_stride, float* out) noexcept {
  std::uint32_t nonfinite = 0;
  for (int j = 0; j < keys; ++j, v += key_stride, out += v_stride) {
    F32x16 probe = zero();  // 0 x is NaN exactly where x is not finite
    std::int64_t e = 0;
    if (feature_stride == 1)
      for (; e + 16 <= dim; e += 16) {
        const F32x16 x = load(v + e);
        store(out + e, x);
        probe = fma(x, zero(), probe);
      }
    if (e < dim) {
      float tail[16] = {};
      for (; e < dim; e += 16) {
        const int lanes = dim - e < 16 ? static_cast<int>(dim - e) : 16;
        for (int lane = 0; lane < 16; ++lane)
          tail[lane] = lane < lanes ? v[(e + lane) * feature_stride] : 0.0f;
        const F32x16 x = load(tail);
        store(out + e, x);
        probe = fma(x, zero(), probe);
      }
    }
    if (!all(equal(probe, probe))) nonfinite |= 1u << (j / kGroupKeys);
  }
  return nonfinite;
}

}  // namespace
}  // namespace rapt::RAPT_ISA
