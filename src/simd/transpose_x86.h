#pragma once

#include <immintrin.h>

#include <cstdint>

namespace rapt::RAPT_ISA {
namespace {

// Reads 8 rows of 8 and writes 8 columns, `out_stride` floats apart.
inline void transpose8x8(const float* rows, std::int64_t stride, float* out,
                         std::int64_t out_stride) {
  __m256 r[8], t[8], u[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(rows + i * stride);
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    u[i + 0] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
    u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
  }
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(out + i * out_stride, _mm256_permute2f128_ps(u[i], u[i + 4], 0x20));
    _mm256_storeu_ps(out + (i + 4) * out_stride, _mm256_permute2f128_ps(u[i], u[i + 4], 0x31));
  }
}

inline void transpose16x8(const float* rows, std::int64_t stride, float* out) {
  transpose8x8(rows, stride, out, 16);
  transpose8x8(rows + 8 * stride, stride, out + 8, 16);
}

}  // namespace
}  // namespace rapt::RAPT_ISA
