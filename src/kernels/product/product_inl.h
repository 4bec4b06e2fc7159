#pragma once

// The register tile behind every product of rapt: scores (q k^T), values (p v) and linear layers.
// Include after simd/vec_<isa>.h.

#include <cstdint>

namespace rapt::RAPT_ISA {
namespace {

#define RAPT_INLINE inline __attribute__((always_inline))

/// Continues kRows x kVectors accumulators by `depth` steps of the canonical chain:
///
///     acc[r][n] = fma(a[r lda + e], b[e b_row + n b_vec + lane], acc[r][n]),   e = 0 .. depth-1
///
/// Lanes run over independent outputs, so neither the vector width nor the tile shows in the bits.
///
/// @shape  a kRows rows `lda` floats apart; b `depth` rows `b_row` floats apart, its vectors `b_vec` apart.
/// @cost   kRows kVectors fma, kVectors loads and kRows broadcasts a step.
template <int kRows, int kVectors>
RAPT_INLINE void product(const float* a, std::int64_t lda, const float* b, std::int64_t b_row,
                         std::int64_t b_vec, std::int64_t depth, F32x16 (&acc)[kRows][kVectors]) {
  const auto step = [&](std::int64_t e) __attribute__((always_inline)) {
    F32x16 column[kVectors];
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) {
      column[n] = load(b + e * b_row + n * b_vec);
      keep_in_register(column[n]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      F32x16 x = broadcast(a[r * lda + e]);
#pragma GCC unroll 4
      for (int n = 0; n < kVectors; ++n) accumulate(acc[r][n], column[n], x);
    }
  };
  const std::int64_t unrolled = depth & ~std::int64_t{3};
  for (std::int64_t e = 0; e < unrolled; e += 4) {
    step(e);
    step(e + 1);
    step(e + 2);
    step(e + 3);
  }
  for (std::int64_t e = unrolled; e < depth; ++e) step(e);
}

template <int kRows, int kVectors>
RAPT_INLINE void clear(F32x16 (&acc)[kRows][kVectors]) {
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) acc[r][n] = zero();
}

}  // namespace
}  // namespace rapt::RAPT_ISA
