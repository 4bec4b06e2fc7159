#pragma once

// The register tile behind every product of rapt: scores (q k^T), values (p v) and linear layers.
// Include after simd/vec_<isa>.h.

#include <cstdint>
#include <utility>

namespace rapt::RAPT_ISA {
namespace {

#define RAPT_INLINE inline __attribute__((always_inline))

/// Calls f(0) .. f(kCount - 1) with constant indices. A loop that the compiler unrolls late would
/// leave an array of accumulators in memory.
template <class F, int... kIndex>
RAPT_INLINE void unroll(F&& f, std::integer_sequence<int, kIndex...>) {
  (f(std::integral_constant<int, kIndex>{}), ...);
}
template <int kCount, class F>
RAPT_INLINE void unroll(F&& f) {
  unroll(f, std::make_integer_sequence<int, kCount>{});
}
#define RAPT_UNROLLED(i) [&](auto i) __attribute__((always_inline))

template <int kRows, int kColumns>
struct RegisterTile {
  Register at[kRows][kColumns];
};

/// How far b is fetched ahead where it comes from memory, in floats: 10 KiB.
constexpr std::int64_t kStreamAhead = 2560;

template <bool kStreamed, int kRows, int kColumns>
RAPT_INLINE void product_step(const float* a, std::int64_t lda, const float* b, std::int64_t b_vec,
                              RegisterTile<kRows, kColumns>& tile) {
  constexpr int kPerVector = 16 / kRegisterLanes;
  Register column[kColumns];
  unroll<kColumns>(RAPT_UNROLLED(n) {
    const float* at = b + n / kPerVector * b_vec + n % kPerVector * kRegisterLanes;
    column[n] = load_register(at);
    if (kStreamed && n % kPerVector == 0) prefetch(at + kStreamAhead);
  });
  unroll<kRows>(RAPT_UNROLLED(r) {
    const Register x = broadcast_register(a[r * lda]);
    unroll<kColumns>(RAPT_UNROLLED(n) { accumulate(tile.at[r][n], x, column[n]); });
  });
}

/// Continues kRows x kVectors accumulators by `depth` steps of the canonical chain:
///
///     acc[r][n] = fma(a[r lda + e], b[e b_row + n b_vec + lane], acc[r][n]),   e = 0 .. depth-1
///
/// Lanes run over independent outputs, so neither the vector width nor the tile shows in the bits.
/// kStreamed is for a b that is read once, from memory: then it is fetched ahead.
///
/// @shape  a kRows rows `lda` floats apart; b `depth` rows `b_row` floats apart, its vectors
///         `b_vec` apart.
/// @cost   kRows kVectors fma, kVectors loads and kRows broadcasts a step.
template <bool kStreamed = false, int kRows, int kVectors>
RAPT_INLINE void product(const float* a, std::int64_t lda, const float* b, std::int64_t b_row,
                         std::int64_t b_vec, std::int64_t depth, F32x16 (&acc)[kRows][kVectors]) {
  constexpr int kPerVector = 16 / kRegisterLanes, kColumns = kVectors * kPerVector;
  RegisterTile<kRows, kColumns> tile;
  unroll<kRows>(RAPT_UNROLLED(r) {
    unroll<kColumns>(
        RAPT_UNROLLED(n) { tile.at[r][n] = register_of(acc[r][n / kPerVector], n % kPerVector); });
  });
  std::int64_t steps = depth;
  for (; steps >= 4; steps -= 4, a += 4, b += 4 * b_row) {
    product_step<kStreamed>(a, lda, b, b_vec, tile);
    product_step<kStreamed>(a + 1, lda, b + b_row, b_vec, tile);
    product_step<kStreamed>(a + 2, lda, b + 2 * b_row, b_vec, tile);
    product_step<kStreamed>(a + 3, lda, b + 3 * b_row, b_vec, tile);
  }
  for (; steps > 0; --steps, ++a, b += b_row) product_step<kStreamed>(a, lda, b, b_vec, tile);
  unroll<kRows>(RAPT_UNROLLED(r) {
    unroll<kColumns>(
        RAPT_UNROLLED(n) { set_register(acc[r][n / kPerVector], n % kPerVector, tile.at[r][n]); });
  });
}

template <int kRows, int kVectors>
RAPT_INLINE void clear(F32x16 (&acc)[kRows][kVectors]) {
  unroll<kRows>(RAPT_UNROLLED(r) { unroll<kVectors>(RAPT_UNROLLED(n) { acc[r][n] = zero(); }); });
}

}  // namespace
}  // namespace rapt::RAPT_ISA
