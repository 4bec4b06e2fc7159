#pragma once

// Sums of attention weights, for every instruction set. Include after simd/vec_<isa>.h.

#include "kernels/attention/states_inl.h"
#include "kernels/observe/observe.h"

namespace rapt::RAPT_ISA {
namespace {

/// No weight is above 0 that far below its maximum.
constexpr float kLowestGap = -200.0f;

inline void keep_scores(const AttentionTile& tile, float* scores) noexcept {
  for (const RowBlock& block : row_blocks(tile))
    for (int r = block.row; r < block.row + block.rows; ++r)
      for (std::uint32_t left = block.seen; left != 0; left &= left - 1) {
        const int at = r * kScoreStride + first_group(left) * kGroupKeys;
        store(scores + at, load(tile.s + at));
      }
}

/// sums[r stride] = the sum over the groups that row r's block sees of term(row in the pass, p,
/// where it stands). Rows go two at a time, so that one's chain of sums hides in the other's.
template <class Setup, class Term>
inline void sum_rows(const AttentionTile& tile, float* sums, std::int64_t stride, Setup&& setup,
                     Term&& term) {
  for (const RowBlock& block : row_blocks(tile)) {
    const int end = block.row + block.rows;
    const auto pass = [&]<int kCount>(std::integral_constant<int, kCount>, int row)
        __attribute__((always_inline)) {
      F32x16 sum[kCount], of_row[kCount];
      unroll<kCount>(RAPT_UNROLLED(i) {
        sum[i] = zero();
        of_row[i] = broadcast(setup(row + i));
      });
      for (std::uint32_t left = block.seen; left != 0; left &= left - 1) {
        const int first = first_group(left) * kGroupKeys;
        unroll<kCount>(RAPT_UNROLLED(i) {
          const int at = (row + i) * kScoreStride + first;
          sum[i] = term(load(tile.s + at), of_row[i], at, first, sum[i]);
        });
      }
      unroll<kCount>(RAPT_UNROLLED(i) { sums[(row + i) * stride] = reduce_add(sum[i]); });
    };
    int r = block.row;
    for (; r + 2 <= end; r += 2) pass(std::integral_constant<int, 2>{}, r);
    if (r < end) pass(std::integral_constant<int, 1>{}, r);
  }
}

inline void entropy(const AttentionTile& tile, const float* scores, float* sums,
                    std::int64_t stride) noexcept {
  sum_rows(
      tile, sums, stride, [&](int r) { return tile.m[r]; },
      [&](F32x16 p, F32x16 m, int at, int, F32x16 sum) __attribute__((always_inline)) {
        // In this order infinities' NaN becomes the bound, which meets p = 0 or NaN.
        return fma(p, max(sub(load(scores + at), m), broadcast(kLowestGap)), sum);
      });
}

inline void squares(const AttentionTile& tile, float* sums, std::int64_t stride) noexcept {
  sum_rows(
      tile, sums, stride, [](int) { return 0.0f; },
      [](F32x16 p, F32x16, int, int, F32x16 sum)
          __attribute__((always_inline)) { return fma(p, p, sum); });
}

inline void distances(const AttentionTile& tile, const float* offset, float* sums,
                      std::int64_t stride) noexcept {
  constexpr float kLanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const F32x16 lanes = load(kLanes);
  sum_rows(
      tile, sums, stride, [&](int r) { return offset[r]; },
      [&](F32x16 p, F32x16 from, int, int first, F32x16 sum) __attribute__((always_inline)) {
        return fma(p, sub(from, add(lanes, broadcast(static_cast<float>(first)))), sum);
      });
}

/// Sum of p over the keys of [begin, end) that `keeps(group, its first key)` has lanes of.
template <class Keeps>
inline float sum_range(const float* p, std::uint32_t seen, int begin, int end, Keeps&& keeps) {
  if (begin >= end) return 0.0f;
  const int first = begin / kGroupKeys, last = (end - 1) / kGroupKeys;
  F32x16 sum = zero();
  for (std::uint32_t left = seen & groups_from(first) & ~groups_from(last + 1); left != 0;
       left &= left - 1) {
    const int group = first_group(left), key = group * kGroupKeys;
    std::uint32_t inside = 0xFFFF;
    if (group == first) inside &= 0xFFFFu << (begin - key);
    if (group == last) inside &= 0xFFFFu >> (key + kGroupKeys - end);
    sum = add(sum, zero_unless(lanes_of(inside), keeps(load(p + key), group, key)));
  }
  return reduce_add(sum);
}

inline float mass(const float* p, std::uint32_t seen, int begin, int end) noexcept {
  return sum_range(p, seen, begin, end, [](F32x16 x, int, int) { return x; });
}

inline float mass_of(const float* p, std::uint32_t seen, const KeyBits& keys) noexcept {
  return sum_range(p, seen, 0, kChunkKeys, [&](F32x16 x, int group, int) {
    return zero_unless(lanes_of(keys.group(group)), x);
  });
}

inline float mass_of_equal(const float* p, std::uint32_t seen, const float* ids, float id,
                           int begin, int end) noexcept {
  const F32x16 wanted = broadcast(id);
  return sum_range(p, seen, begin, end, [&](F32x16 x, int, int key) {
    return zero_unless(equal(load(ids + key), wanted), x);
  });
}

inline float weighted_mass(const float* p, std::uint32_t seen, std::uint32_t whole,
                           const KeyBits& visible, const float* w) noexcept {
  F32x16 sum = zero();
  for (std::uint32_t left = seen; left != 0; left &= left - 1) {
    const int group = first_group(left), key = group * kGroupKeys;
    const std::uint32_t keys = (whole >> group & 1) != 0 ? 0xFFFF : visible.group(group);
    sum = add(sum, zero_unless(lanes_of(keys), mul(load(p + key), load(w + key))));
  }
  return reduce_add(sum);
}

inline void roots_and_gaps(const float* s, float m, WeightLine& line) noexcept {
  const F32x16 shift = broadcast(m);
  for (std::uint32_t left = line.seen; left != 0; left &= left - 1) {
    const int key = first_group(left) * kGroupKeys;
    store(line.roots + key, sqrt(load(line.weights + key)));
    store(line.gaps + key, sub(load(s + key), shift));
  }
}

inline void compare(const WeightLine& a, const WeightLine& b, PairSums& sums) noexcept {
  F32x16 roots = zero(), products = zero(), cross = zero(), cross_back = zero();
  for (std::uint32_t left = a.seen | b.seen; left != 0; left &= left - 1) {
    const int key = first_group(left) * kGroupKeys;
    const F32x16 a_weights = load(a.weights + key), b_weights = load(b.weights + key);
    roots = fma(load(a.roots + key), load(b.roots + key), roots);
    products = fma(a_weights, b_weights, products);
    // A key without weight may be infinitely far below.
    cross = fma(a_weights, zero_unless(less(zero(), a_weights), load(b.gaps + key)), cross);
    cross_back =
        fma(b_weights, zero_unless(less(zero(), b_weights), load(a.gaps + key)), cross_back);
  }
  sums.roots += reduce_add(roots);
  sums.products += reduce_add(products);
  sums.cross += reduce_add(cross);
  sums.cross_back += reduce_add(cross_back);
}

inline void merge_statistics(std::int64_t rows, std::int64_t v_stride, const StateRows* sides,
                             int count, const StateRows& into) noexcept {
  for (std::int64_t r = 0; r < rows; ++r)
    for (int i = 0; i < count; ++i) {
      const bool side_larger = sides[i].m[r] > into.m[r];
      const StateRows& large = side_larger ? sides[i] : into;
      const StateRows& small = side_larger ? into : sides[i];
      const float m = large.m[r], small_m = small.m[r];
      const float weight = merge_weight(small_m, m);
      const F32x16 w = broadcast(weight), small_l = broadcast(small.l[r]);
      // A weight of 0 leaves nothing of what may be infinitely far away.
      const float gap = weight == 0.0f || small_m == m ? 0.0f : small_m - m;
      const float* large_acc = large.acc + r * v_stride;
      const float* small_acc = small.acc + r * v_stride;
      float* acc = into.acc + r * v_stride;

      float entering[16], lanes[16];
      store(entering, load(small_acc));
      const float small_largest = entering[kLargestColumn], visible = entering[kVisibleColumn];
      const float largest = large_acc[kLargestColumn], large_visible = large_acc[kVisibleColumn];
      store(lanes, fma(broadcast(gap), small_l, broadcast(entering[kEntropyColumn])));
      entering[kEntropyColumn] = lanes[0];
      entering[kSquaresColumn] *= weight;
      store(acc, add(fma(load(entering), w, load(large_acc)), zero()));
      acc[kLargestColumn] = small_m == m && small_largest > largest ? small_largest : largest;
      acc[kVisibleColumn] = visible + large_visible;
      for (std::int64_t e = 16; e < v_stride; e += 16)
        store(acc + e, add(fma(load(small_acc + e), w, load(large_acc + e)), zero()));
      store(lanes, fma(small_l, w, broadcast(large.l[r])));
      into.l[r] = lanes[0];
      into.m[r] = m;
    }
}

constexpr ObserveKernels make_observe_kernels(Isa isa) {
  return {isa,     keep_scores,   entropy,       squares,        distances, mass,
          mass_of, mass_of_equal, weighted_mass, roots_and_gaps, compare,   merge_statistics};
}

}  // namespace
}  // namespace rapt::RAPT_ISA
