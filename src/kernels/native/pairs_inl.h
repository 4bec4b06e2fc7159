#pragma once

// The register tile of native bf16: kernels/product with pairs in the place of elements. Include
// after simd/vec_<isa>.h.

#include "kernels/product/product_inl.h"

namespace rapt::RAPT_ISA {
namespace {

/// The broadcast operand: pair (row r, pair e) at data[r row + 2 e].
struct PairRows {
  const PairItem* data;
  std::int64_t row;
};

/// The other operand, 16 lanes of pairs: (vector n, pair e) at data[n vector + e step]. Elements of
/// a pair are neighbours in memory or, in the layout of a cache, `odd` apart.
template <bool kApart>
struct PairLanes {
  const BF16* data;
  std::int64_t vector, step, odd;

  template <int kStep>
  RAPT_INLINE PairRegister load(int column) const {
    const BF16* at = data + column / kRegistersPerVector * vector;
    const int lane = column % kRegistersPerVector * kRegisterLanes;
    if constexpr (kApart)
      return load_pairs<kStep>(at + lane, at + odd + lane);
    else
      return load_pairs<kStep>(at + 2 * lane);
  }
};

/// What of a pair there is: the other element acts as 0.
enum class Half { kBoth, kEven, kOdd };

/// One pair of the chain; a and b move on to the next.
template <Half kHalf, bool kApart, int kRows, int kVectors>
RAPT_INLINE void pair_step(PairRows& a, PairLanes<kApart>& b, RegisterTile<kRows, kVectors>& tile) {
  constexpr int kColumns = RegisterTile<kRows, kVectors>::kColumns;
  unroll<kPairSteps>(RAPT_UNROLLED(step) {
    constexpr int kStep = decltype(step)::value;
    const auto column = [&](int n) __attribute__((always_inline)) {
      const PairRegister w = b.template load<kStep>(n);
      if constexpr (kHalf == Half::kBoth)
        return w;
      else
        return half_of_pairs<kStep, kHalf == Half::kOdd>(w);
    };
    const auto row = [&](int r) __attribute__((always_inline)) {
      return broadcast_pairs<kStep>(a.data + r * a.row);
    };
    if constexpr (kRows < kColumns) {
      PairRegister x[kRows];
      unroll<kRows>(RAPT_UNROLLED(r) { x[r] = row(r); });
      unroll<kColumns>(RAPT_UNROLLED(n) {
        const PairRegister w = column(n);
        unroll<kRows>(RAPT_UNROLLED(r) { accumulate_pairs(tile.at[r][n], x[r], w); });
      });
    } else {
      PairRegister w[kColumns];
      unroll<kColumns>(RAPT_UNROLLED(n) { w[n] = column(n); });
      unroll<kRows>(RAPT_UNROLLED(r) {
        const PairRegister x = row(r);
        unroll<kColumns>(RAPT_UNROLLED(n) { accumulate_pairs(tile.at[r][n], x, w[n]); });
      });
    }
  });
  a.data += 2;
  b.data += b.step;
}

/// A pair of which one element is not there; its place need not be memory.
template <Half kHalf, bool kApart, int kRows, int kVectors>
RAPT_INLINE void lone_step(PairRows& a, PairLanes<kApart>& b, RegisterTile<kRows, kVectors>& tile) {
  PairLanes<kApart> there = b;
  if constexpr (kApart) {
    if (kHalf == Half::kOdd) there.data += b.odd;
    there.odd = 0;
  }
  pair_step<kHalf>(a, there, tile);
  b.data += b.step;
}

/// Elements [begin, end) of a chain. Pairs are those of even places and the next.
struct Elements {
  std::int64_t begin, end;
};

/// Continues kRows x kVectors accumulators by the elements, pairs ascending:
///
///     acc[r][n] = fma(a(r, e), b(n, e), fma(a(r, e + 1), b(n, e + 1), acc[r][n]))   e even
///
/// denormals flushed; an element outside acts as b = 0. a and b are at the pair of the first. With
/// kFetch a pair also fetches what it reads, from `fetched` on.
template <FetchTo kFetch, int = 0, bool kApart, int kRows, int kVectors>
RAPT_INLINE void product(PairRows a, PairLanes<kApart> b, Elements elements,
                         F32x16 (&acc)[kRows][kVectors], const BF16* fetched = nullptr) {
  RegisterTile<kRows, kVectors> tile;
  unroll<kRows>(RAPT_UNROLLED(r) {
    unroll<kVectors>(RAPT_UNROLLED(n) { tile.set_vector(r, n, acc[r][n]); });
  });
  std::int64_t e = elements.begin;
  if ((e & 1) != 0 && e < elements.end) {
    lone_step<Half::kOdd>(a, b, tile);
    ++e;
  }
  for (; e + 2 <= elements.end; e += 2) {
    if constexpr (kFetch != FetchTo::kNone) {
      unroll<kVectors>(RAPT_UNROLLED(n) { fetch<kFetch>(fetched + n * 32); });
      fetched += kVectors * 32;
    }
    pair_step<Half::kBoth>(a, b, tile);
  }
  if (e < elements.end) lone_step<Half::kEven>(a, b, tile);
  unroll<kRows>(
      RAPT_UNROLLED(r) { unroll<kVectors>(RAPT_UNROLLED(n) { acc[r][n] = tile.vector(r, n); }); });
}

}  // namespace
}  // namespace rapt::RAPT_ISA
