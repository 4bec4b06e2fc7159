#pragma once

// The register tile behind every product of rapt: scores (q k^T), values (p v) and linear layers.
// Include after simd/vec_<isa>.h.

#include <cstdint>
#include <utility>

#include "kernels/product/fetch.h"

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

inline constexpr int kRegistersPerVector = 16 / kRegisterLanes;

template <int kRows, int kVectors>
struct RegisterTile {
  static constexpr int kColumns = kVectors * kRegistersPerVector;
  Register at[kRows][kColumns];

  RAPT_INLINE F32x16 vector(int r, int n) const {
    F32x16 v;
    unroll<kRegistersPerVector>(
        RAPT_UNROLLED(i) { set_register(v, i, at[r][n * kRegistersPerVector + i]); });
    return v;
  }
  RAPT_INLINE void set_vector(int r, int n, F32x16 v) {
    unroll<kRegistersPerVector>(
        RAPT_UNROLLED(i) { at[r][n * kRegistersPerVector + i] = register_of(v, i); });
  }
};

/// One operand of a product, broadcast: element (row r, step e) at data[r row + e].
struct RowOperand {
  const float* data;
  std::int64_t row;
};

/// The other operand, 16 lanes at a time: (vector n, step e) at data[n vector + e step]. Elements
/// of other types become f32, exactly, as they are loaded.
template <class T>
struct LaneOperand {
  const T* data;
  std::int64_t vector, step;
};
template <class T>
LaneOperand(const T*, std::int64_t, std::int64_t) -> LaneOperand<T>;

template <FetchTo kTo>
RAPT_INLINE void fetch(const void* p) {
  if constexpr (kTo == FetchTo::kL1) fetch_l1(p);
  if constexpr (kTo == FetchTo::kL2) fetch_l2(p);
}

/// One step of the chain; a and b move on to the next.
template <class T, int kRows, int kVectors>
RAPT_INLINE void product_step(RowOperand& a, LaneOperand<T>& b,
                              RegisterTile<kRows, kVectors>& tile) {
  constexpr int kColumns = RegisterTile<kRows, kVectors>::kColumns;
  const auto row = [&](int r) __attribute__((always_inline)) {
    return broadcast_register(a.data[r * a.row]);
  };
  // A tile that leaves no spare register loads its columns one by one.
  constexpr bool kFull = kRows * kColumns + 4 >= kRegisters;
  Register w[kColumns];
  const auto load_column = [&](auto n) __attribute__((always_inline)) {
    constexpr int kVector = n / kRegistersPerVector, kRegister = n % kRegistersPerVector;
    const T* from = b.data + kVector * b.vector;
    if constexpr (kFull) {
      w[n] = load_unordered_register(from, kRegister);
    } else if constexpr (kRegister == 0) {
      const F32x16 v = load_unordered(from);
      unroll<kRegistersPerVector>(RAPT_UNROLLED(i) { w[n + i] = register_of(v, i); });
    }
  };
  if constexpr (kRows < kColumns && sizeof(T) < sizeof(float)) {
    Register x[kRows];
    unroll<kRows>(RAPT_UNROLLED(r) { x[r] = row(r); });
    unroll<kColumns>(RAPT_UNROLLED(n) {
      load_column(n);
      unroll<kRows>(RAPT_UNROLLED(r) { accumulate(tile.at[r][n], x[r], w[n]); });
    });
  } else {
    unroll<kColumns>(load_column);
    unroll<kRows>(RAPT_UNROLLED(r) {
      const Register x = row(r);
      unroll<kColumns>(RAPT_UNROLLED(n) { accumulate(tile.at[r][n], x, w[n]); });
    });
  }
  ++a.data;
  b.data += b.step;
}

/// Continues kRows x kVectors accumulators by `depth` steps of the canonical chain:
///
///     acc[r][n] = fma(a(r, e), b(n, e), acc[r][n]),   e = 0 .. depth-1
///
/// with the lanes of acc as load_unordered<T> has them: in_order<T> restores their order. Lanes run
/// over independent outputs, so neither the vector width nor the tile shows in the bits. With
/// kFetch each step also fetches as many lines from memory as it reads, the next ones from `fetched`
/// on: in the order of addresses, whatever the order of the product. kDepth is the depth where it is
/// known: the loop is then unrolled.
///
/// @cost   kRows kVectors fma, kVectors loads and kRows broadcasts a step.
template <FetchTo kFetch = FetchTo::kNone, int kDepth = 0, class T = float, int kRows, int kVectors>
RAPT_INLINE void product(RowOperand a, LaneOperand<T> b, std::int64_t depth,
                         F32x16 (&acc)[kRows][kVectors], const T* fetched = nullptr) {
  // A turn of the loop fetches whole lines.
  constexpr int kLine = 64 / sizeof(T), kStep = kVectors * 16, kTurn = 2 * kStep % kLine ? 4 : 2;
  constexpr auto kLinesBefore = [](int step) { return (step * kStep + kLine - 1) / kLine; };
  RegisterTile<kRows, kVectors> tile;
  unroll<kRows>(RAPT_UNROLLED(r) {
    unroll<kVectors>(RAPT_UNROLLED(n) { tile.set_vector(r, n, acc[r][n]); });
  });
  const auto step = [&](auto lines) __attribute__((always_inline)) {
    if constexpr (kFetch != FetchTo::kNone) {
      unroll<decltype(lines)::value>(RAPT_UNROLLED(n) { fetch<kFetch>(fetched + n * kLine); });
      fetched += decltype(lines)::value * kLine;
    }
    product_step(a, b, tile);
  };
  const auto step_of_turn = [&](auto e) __attribute__((always_inline)) {
    step(std::integral_constant<int, kLinesBefore(e % kTurn + 1) - kLinesBefore(e % kTurn)>{});
  };
  if constexpr (kDepth > 0) {
    unroll<kDepth>(step_of_turn);
  } else {
    std::int64_t steps = depth;
    for (; steps >= kTurn; steps -= kTurn) unroll<kTurn>(step_of_turn);
    for (; steps > 0; --steps) step_of_turn(std::integral_constant<int, 0>{});
  }
  unroll<kRows>(
      RAPT_UNROLLED(r) { unroll<kVectors>(RAPT_UNROLLED(n) { acc[r][n] = tile.vector(r, n); }); });
}

template <int kRows, int kVectors>
RAPT_INLINE void clear(F32x16 (&acc)[kRows][kVectors]) {
  unroll<kRows>(RAPT_UNROLLED(r) { unroll<kVectors>(RAPT_UNROLLED(n) { acc[r][n] = zero(); }); });
}

}  // namespace
}  // namespace rapt::RAPT_ISA
