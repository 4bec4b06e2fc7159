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

/// One operand of a product, broadcast: element (row r, step e) at data[r row + e].
struct RowOperand {
  const float* data;
  std::int64_t row;
};

/// The other operand, 16 lanes at a time: (vector n, step e) at data[n vector + e step].
struct LaneOperand {
  const float* data;
  std::int64_t vector, step;
};

/// One step of the chain; a and b move on to the next.
template <int kRows, int kColumns>
RAPT_INLINE void product_step(RowOperand& a, LaneOperand& b, RegisterTile<kRows, kColumns>& tile) {
  constexpr int kPerVector = 16 / kRegisterLanes;
  Register column[kColumns];
  unroll<kColumns>(RAPT_UNROLLED(n) {
    column[n] = load_register(b.data + n / kPerVector * b.vector + n % kPerVector * kRegisterLanes);
  });
  unroll<kRows>(RAPT_UNROLLED(r) {
    const Register x = broadcast_register(a.data[r * a.row]);
    unroll<kColumns>(RAPT_UNROLLED(n) { accumulate(tile.at[r][n], x, column[n]); });
  });
  ++a.data;
  b.data += b.step;
}

/// Continues kRows x kVectors accumulators by `depth` steps of the canonical chain:
///
///     acc[r][n] = fma(a(r, e), b(n, e), acc[r][n]),   e = 0 .. depth-1
///
/// Lanes run over independent outputs, so neither the vector width nor the tile shows in the bits.
/// With kFetched each step also fetches kVectors lines from memory, the next ones from `fetched` on:
/// in the order of addresses, whatever the order of the product.
///
/// @cost   kRows kVectors fma, kVectors loads and kRows broadcasts a step.
template <bool kFetched = false, int kRows, int kVectors>
RAPT_INLINE void product(RowOperand a, LaneOperand b, std::int64_t depth,
                         F32x16 (&acc)[kRows][kVectors], const float* fetched = nullptr) {
  constexpr int kPerVector = 16 / kRegisterLanes, kColumns = kVectors * kPerVector;
  RegisterTile<kRows, kColumns> tile;
  unroll<kRows>(RAPT_UNROLLED(r) {
    unroll<kColumns>(
        RAPT_UNROLLED(n) { tile.at[r][n] = register_of(acc[r][n / kPerVector], n % kPerVector); });
  });
  const auto step = [&]() __attribute__((always_inline)) {
    if constexpr (kFetched) {
      unroll<kVectors>(RAPT_UNROLLED(n) { fetch(fetched + n * 16); });
      fetched += kVectors * 16;
    }
    product_step(a, b, tile);
  };
  std::int64_t steps = depth;
  for (; steps >= 2; steps -= 2) {
    step();
    step();
  }
  for (; steps > 0; --steps) step();
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
