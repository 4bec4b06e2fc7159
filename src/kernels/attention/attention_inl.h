#pragma once

// The attention kernels, for every instruction set. Steps are those of docs/numerics.md.

#include <limits>

#include "kernels/attention/attention.h"
#include "kernels/product/product_inl.h"
#include "simd/exp2_poly.h"
#include "simd/math_inl.h"

namespace rapt::RAPT_ISA {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// Key ranges of a block of register-tile rows: `all` sees [common_begin, common_end), somebody
/// sees [begin, end).
struct BlockSpan {
  int begin, end, common_begin, common_end;
  bool ragged() const { return begin != common_begin || end != common_end; }
};

inline BlockSpan block_span(const AttentionTile& tile, int row, int rows) {
  BlockSpan span{kChunkKeys, 0, 0, kChunkKeys};
  for (int r = row; r < row + rows; ++r) {
    const int begin = tile.begin[r], end = tile.end[r];
    if (begin < end) {
      if (begin < span.begin) span.begin = begin;
      if (end > span.end) span.end = end;
    }
    if (begin > span.common_begin) span.common_begin = begin;
    if (end < span.common_end) span.common_end = end;
  }
  if (span.begin >= span.end) span = {0, 0, 0, 0};
  return span;
}

inline int first_group(int key) { return key / kGroupKeys; }
inline int last_group(int key) { return (key + kGroupKeys - 1) / kGroupKeys; }

/// Calls f with the constant `count`, 1 .. kMost: the extents of a register tile, cut at the edges.
template <int kMost, class F>
RAPT_INLINE void with_count(int count, F&& f) {
  if (kMost == 1 || count == kMost) return f(std::integral_constant<int, kMost>{});
  if constexpr (kMost > 1) with_count<kMost - 1>(count, f);
}

inline int at_most(int most, int count) { return count < most ? count : most; }

// ---- Packing ------------------------------------------------------------------------------------

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

// ---- Scores -------------------------------------------------------------------------------------

/// s[r][16 g + lane] for kRows rows and kVectors groups of keys, hidden keys -inf.
template <bool kStreamed, int kRows, int kVectors>
inline __attribute__((noinline)) void score_block(const AttentionTile& tile, int row, int group,
                                                  bool ragged) noexcept {
  F32x16 acc[kRows][kVectors];
  clear(acc);
  const std::int64_t d = tile.head_dim;
  product<kStreamed>({tile.q + row * d, d},
                     {tile.k + group * kGroupKeys * d, kGroupKeys * d, kGroupKeys}, d, acc);
  if (ragged) {
    const F32x16 hidden = broadcast(-kInfinity);
    unroll<kRows>(RAPT_UNROLLED(r) {
      unroll<kVectors>(RAPT_UNROLLED(n) {
        const int first = (group + n) * kGroupKeys;
        acc[r][n] = select(lanes_between(tile.begin[row + r] - first, tile.end[row + r] - first),
                           acc[r][n], hidden);
      });
    });
  }
  float* s = tile.s + row * kScoreStride + group * kGroupKeys;
  float* lane_max = tile.lane_max + row * 16;
  unroll<kRows>(RAPT_UNROLLED(r) {
    F32x16 largest = load(lane_max + r * 16);
    unroll<kVectors>(RAPT_UNROLLED(n) {
      largest = max(acc[r][n], largest);  // in this order NaN is ignored: it reaches l through p
      store(s + r * kScoreStride + n * kGroupKeys, acc[r][n]);
    });
    store(lane_max + r * 16, largest);
  });
}

/// kStreamed: keys come from memory, and so will the values.
template <bool kStreamed>
inline void scores(const AttentionTile& tile) noexcept {
  BlockSpan spans[kTileQueries];
  int begin = kChunkKeys, end = 0;
  for (int row = 0; row < tile.rows; row += kTileRows) {
    const int rows = at_most(kTileRows, tile.rows - row);
    const BlockSpan span = spans[row / kTileRows] = block_span(tile, row, rows);
    if (span.begin < span.end && span.begin < begin) begin = span.begin;
    if (span.end > end) end = span.end;
    for (int r = row; r < row + rows; ++r) store(tile.lane_max + r * 16, broadcast(-kInfinity));
  }
  for (int group = first_group(begin); group < last_group(end); group += kTileVectors) {
    for (int row = 0; row < tile.rows; row += kTileRows) {
      const BlockSpan& span = spans[row / kTileRows];
      const int left = last_group(span.end) - group;
      if (left <= 0 || (group + kTileVectors) * kGroupKeys <= span.begin) continue;
      const int vectors = at_most(kTileVectors, left);
      const int rows = at_most(kTileRows, tile.rows - row);
      const bool ragged = group * kGroupKeys < span.common_begin ||
                          (group + vectors) * kGroupKeys > span.common_end;
      with_count<kTileRows>(
          rows, [&](auto r) __attribute__((always_inline)) {
            with_count<kTileVectors>(
                vectors, [&](auto n) __attribute__((always_inline)) {
                  score_block<kStreamed, decltype(r)::value, decltype(n)::value>(tile, row, group,
                                                                                 ragged);
                });
          });
    }
  }
  if (kStreamed)  // the stream of values begins while the softmax computes
    for (std::int64_t i = 0; i < kStreamAhead; i += 16)
      prefetch(tile.v + begin * tile.v_stride + i);
}

// ---- Softmax ------------------------------------------------------------------------------------

// Adding kRound to x in [-2^21, 2^21] rounds x to an integer n, ties to even, and leaves n + 128 in
// the low byte: shifted into the exponent field it is 2^(n + 1).
constexpr float kRound = 0x1.8p23f + 128.0f;
constexpr float kSmallest = kRound - 125.0f;
constexpr float kExactMax = 0x1p21f;

/// kCount vectors p = 2^n P(f), n the integer nearest s - m, f = s - (n + m), both exact; +0 for
/// n < -125. Below kExactMax `m` holds kRound - m; from there on s - m is exact itself where p is
/// not 0.
template <bool kLarge, int kCount>
RAPT_INLINE void weights_of(F32x16 (&s)[kCount], const F32x16 (&m)[kCount]) {
  F32x16 t[kCount], f[kCount];
  unroll<kCount>(RAPT_UNROLLED(i) {
    const F32x16 x = kLarge ? sub(s[i], m[i]) : s[i];
    const F32x16 shift = kLarge ? broadcast(kRound) : m[i];
    t[i] = add(x, shift);
    f[i] = sub(x, sub(t[i], shift));
  });
  // Half of P, whose other half is in the exponent: scaling by 2 commutes with every rounding here.
  unroll<kCount>(
      RAPT_UNROLLED(i) { s[i] = fma(broadcast(0.5f * kExp2C5), f[i], broadcast(0.5f * kExp2C4)); });
  unroll<kCount>(RAPT_UNROLLED(i) { s[i] = fma(s[i], f[i], broadcast(0.5f * kExp2C3)); });
  unroll<kCount>(RAPT_UNROLLED(i) { s[i] = fma(s[i], f[i], broadcast(0.5f * kExp2C2)); });
  unroll<kCount>(RAPT_UNROLLED(i) { s[i] = fma(s[i], f[i], broadcast(0.5f * kExp2C1)); });
  unroll<kCount>(RAPT_UNROLLED(i) { s[i] = fma(s[i], f[i], broadcast(0.5f)); });
  unroll<kCount>(RAPT_UNROLLED(i) {
    s[i] = mul(s[i], as_float(shift_left<23>(as_int(t[i]))));
    s[i] = zero_unless(not_less(t[i], broadcast(kSmallest)), s[i]);  // NaN stays
  });
}

/// What weights_of takes for m: an empty row's -inf hides everything whatever is subtracted.
inline float weight_shift(float m, bool large) {
  return large ? m : kRound - (m == -kInfinity ? 0.0f : m);
}

inline bool is_large(float m) { return (m >= kExactMax || m <= -kExactMax) && m != -kInfinity; }

/// Turns the scores of kCount rows in groups [first, last) into weights, and sums them by lanes.
template <bool kLarge, int kCount>
inline void softmax_rows(const AttentionTile& tile, int row, int first, int last) {
  float* s = tile.s + row * kScoreStride;
  F32x16 m[kCount], sum[kCount];
  unroll<kCount>(RAPT_UNROLLED(i) {
    m[i] = broadcast(weight_shift(tile.m[row + i], kLarge));
    sum[i] = zero();
  });
  for (int group = first; group < last; ++group) {
    F32x16 x[kCount];
    unroll<kCount>(RAPT_UNROLLED(i) { x[i] = load(s + i * kScoreStride + group * kGroupKeys); });
    weights_of<kLarge>(x, m);
    unroll<kCount>(RAPT_UNROLLED(i) {
      store(s + i * kScoreStride + group * kGroupKeys, x[i]);
      sum[i] = add(sum[i], x[i]);
    });
  }
  unroll<kCount>(RAPT_UNROLLED(i) { tile.l[row + i] = reduce_add(sum[i]); });
}

inline void softmax(const AttentionTile& tile) noexcept {
  for (int row = 0; row < tile.rows; row += kTileRows) {
    const int rows = at_most(kTileRows, tile.rows - row);
    const BlockSpan span = block_span(tile, row, rows);
    const int first = first_group(span.begin), last = last_group(span.end);
    bool large = false;
    for (int r = row; r < row + rows; ++r) {
      tile.m[r] = reduce_max(ceil(load(tile.lane_max + r * 16))) + 0.0f;  // never -0
      large |= is_large(tile.m[r]);
    }
    int r = row;
    if (!large)
      for (; r + 2 <= row + rows; r += 2) softmax_rows<false, 2>(tile, r, first, last);
    for (; r < row + rows; ++r)
      if (is_large(tile.m[r]))
        softmax_rows<true, 1>(tile, r, first, last);
      else
        softmax_rows<false, 1>(tile, r, first, last);
  }
}

// ---- Values -------------------------------------------------------------------------------------

/// Keys [begin, end) of a chunk, and whether the chain starts or ends there.
struct KeyRun {
  int begin, end;
  bool first, last;
};

/// acc[r][16 n + lane] over a run of keys, continued from acc unless it is the first.
template <bool kStreamed, int kRows, int kVectors>
inline __attribute__((noinline)) void value_block(const AttentionTile& tile, int row, int vector,
                                                  const KeyRun& keys) noexcept {
  F32x16 acc[kRows][kVectors];
  clear(acc);
  float* out = tile.acc + row * tile.v_stride + vector * 16;
  if (!keys.first)
    unroll<kRows>(RAPT_UNROLLED(r) {
      unroll<kVectors>(RAPT_UNROLLED(n) { acc[r][n] = load(out + r * tile.v_stride + n * 16); });
    });
  product<kStreamed>({tile.s + row * kScoreStride + keys.begin, kScoreStride},
                     {tile.v + keys.begin * tile.v_stride + vector * 16, 16, tile.v_stride},
                     keys.end - keys.begin, acc);
  unroll<kRows>(RAPT_UNROLLED(r) {
    unroll<kVectors>(RAPT_UNROLLED(n) {
      // A hidden key, of weight +0, and a skipped one agree on -0.
      if (keys.last) acc[r][n] = add(acc[r][n], zero());
      store(out + r * tile.v_stride + n * 16, acc[r][n]);
    });
  });
}

/// Vectors of features in a register tile. In a stream, few rows leave registers for more features.
template <bool kStreamed>
constexpr int panel_vectors(int rows) {
  const int vectors = kStreamed ? kTileRows * kTileVectors / rows : kTileVectors;
  return vectors < 4 ? vectors : 4;
}

/// A run of keys, all features of rows [row, row + rows).
template <bool kStreamed>
inline void value_rows(const AttentionTile& tile, int row, int rows, const KeyRun& keys) {
  const int all = static_cast<int>(tile.v_stride / 16);
  with_count<kTileRows>(
      rows, [&](auto r) __attribute__((always_inline)) {
        constexpr int kRows = decltype(r)::value, kVectors = panel_vectors<kStreamed>(kRows);
        for (int vector = 0; vector < all; vector += kVectors)
          with_count<kVectors>(
              at_most(kVectors, all - vector), [&](auto n) __attribute__((always_inline)) {
                value_block<kStreamed, kRows, decltype(n)::value>(tile, row, vector, keys);
              });
      });
}

inline bool hides_nonfinite(const AttentionTile& tile, const BlockSpan& span) {
  if (!span.ragged() || tile.nonfinite_groups == 0) return false;
  const std::uint64_t groups =
      (std::uint64_t{1} << last_group(span.end)) - (std::uint64_t{1} << first_group(span.begin));
  return (tile.nonfinite_groups & groups) != 0;
}

/// Rows of which one hides a non-finite value: 0 times it would be NaN, so every row runs over its
/// own visible keys only.
inline void value_rows_apart(const AttentionTile& tile, int row, int rows) {
  for (int r = row; r < row + rows; ++r) {
    const int end = tile.end[r] > tile.begin[r] ? tile.end[r] : tile.begin[r];
    value_rows<false>(tile, r, 1, {tile.begin[r], end, true, true});
  }
}

inline void values(const AttentionTile& tile) noexcept {
  BlockSpan spans[kTileQueries];
  for (int row = 0; row < tile.rows; row += kTileRows) {
    const int rows = at_most(kTileRows, tile.rows - row);
    BlockSpan& span = spans[row / kTileRows] = block_span(tile, row, rows);
    if (hides_nonfinite(tile, span)) {
      value_rows_apart(tile, row, rows);
      span.end = -1;  // done
    }
  }
  // A panel of features stays in the cache while all rows pass over it.
  const int all = static_cast<int>(tile.v_stride / 16);
  for (int vector = 0; vector < all; vector += kTileVectors)
    for (int row = 0; row < tile.rows; row += kTileRows) {
      const BlockSpan& span = spans[row / kTileRows];
      if (span.end < 0) continue;
      with_count<kTileRows>(
          at_most(kTileRows, tile.rows - row), [&](auto r) __attribute__((always_inline)) {
            with_count<kTileVectors>(
                at_most(kTileVectors, all - vector), [&](auto n) __attribute__((always_inline)) {
                  value_block<false, decltype(r)::value, decltype(n)::value>(
                      tile, row, vector, {span.begin, span.end, true, true});
                });
          });
    }
}

inline void stream_values(const AttentionTile& tile) noexcept {
  BlockSpan spans[kTileQueries];
  int begin = kChunkKeys, end = 0;
  for (int row = 0; row < tile.rows; row += kTileRows) {
    const int rows = at_most(kTileRows, tile.rows - row);
    BlockSpan& span = spans[row / kTileRows] = block_span(tile, row, rows);
    if (hides_nonfinite(tile, span)) {
      value_rows_apart(tile, row, rows);
      span = {0, -1, 0, 0};  // done
    } else if (span.begin == span.end) {
      value_rows<false>(tile, row, rows, {0, 0, true, true});
    } else {
      if (span.begin < begin) begin = span.begin;
      if (span.end > end) end = span.end;
    }
  }
  for (int group = first_group(begin); group < last_group(end); ++group)
    for (int row = 0; row < tile.rows; row += kTileRows) {
      const BlockSpan& span = spans[row / kTileRows];
      const int low = group * kGroupKeys, high = low + kGroupKeys;
      const int from = span.begin > low ? span.begin : low, to = at_most(span.end, high);
      if (from < to)
        value_rows<true>(tile, row, at_most(kTileRows, tile.rows - row),
                         {from, to, from == span.begin, to == span.end});
    }
}

// ---- States -------------------------------------------------------------------------------------

/// 2^x of an integer x <= 0, 0 below 2^-125; 1 for equal infinities, whose difference is NaN.
inline float merge_weight(float m, float larger) {
  if (m == larger) return 1.0f;
  const float x = m - larger;
  if (x < -125.0f) return 0.0f;
  return reduce_max(as_float(shift_left<23>(as_int(broadcast(x + (0x1.8p23f + 127.0f))))));
}

inline void merge(std::int64_t rows, std::int64_t v_stride, const StateRows* sides, int count,
                  const StateRows& into) noexcept {
  for (std::int64_t r = 0; r < rows; ++r) {
    float* acc = into.acc + r * v_stride;
    for (int i = 0; i < count; ++i) {
      const float* side = sides[i].acc + r * v_stride;
      const float side_m = sides[i].m[r], into_m = into.m[r];
      const bool side_larger = side_m > into_m;
      const float m = side_larger ? side_m : into_m;
      const float weight = merge_weight(side_larger ? into_m : side_m, m);
      const F32x16 w = broadcast(weight);
      for (std::int64_t e = 0; e < v_stride; e += 16) {
        const F32x16 a = load(side + e), b = load(acc + e);
        store(acc + e, add(side_larger ? fma(b, w, a) : fma(a, w, b), zero()));
      }
      const F32x16 a = broadcast(sides[i].l[r]), b = broadcast(into.l[r]);
      float lanes[16];
      store(lanes, side_larger ? fma(b, w, a) : fma(a, w, b));
      into.l[r] = lanes[0];
      into.m[r] = m;
    }
  }
}

inline F32x16 canonical_nan(F32x16 x) { return select(equal(x, x), x, broadcast(kNaN)); }

inline void finish(std::int64_t rows, std::int64_t v_stride, const StateRows& state,
                   float* lse) noexcept {
  constexpr float kLn2 = 0x1.62e43p-1f;
  for (std::int64_t r = 0; r < rows; r += 16) {
    const int count = rows - r < 16 ? static_cast<int>(rows - r) : 16;
    float m[16] = {}, l[16] = {}, out[16];
    for (int i = 0; i < count; ++i) m[i] = state.m[r + i], l[i] = state.l[r + i];
    const F32x16 x = canonical_nan(mul(add(load(m), log2(load(l))), broadcast(kLn2)));
    store(out, x);
    for (int i = 0; i < count; ++i) {
      lse[r + i] = m[i] == -kInfinity && l[i] == 0.0f ? -kInfinity : out[i];
      if (l[i] != l[i]) state.l[r + i] = kNaN;
    }
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    float* acc = state.acc + r * v_stride;
    const bool empty = state.m[r] == -kInfinity && state.l[r] == 0.0f;
    const F32x16 l = broadcast(state.l[r]);
    for (std::int64_t e = 0; e < v_stride; e += 16)
      store(acc + e, empty ? zero() : canonical_nan(div(load(acc + e), l)));
  }
}

inline void weights(const float* s, int begin, int end, float m, float l, float* p) noexcept {
  const bool large = is_large(m), empty = m == -kInfinity && l == 0.0f;
  const F32x16 shift[1] = {broadcast(weight_shift(m, large))};
  for (int group = first_group(begin); group < last_group(end); ++group) {
    F32x16 x[1] = {load(s + group * kGroupKeys)};
    if (large)
      weights_of<true>(x, shift);
    else
      weights_of<false>(x, shift);
    store(p + group * kGroupKeys, empty ? zero() : canonical_nan(div(x[0], broadcast(l))));
  }
}

constexpr AttentionKernels make_attention_kernels(Isa isa) {
  return {isa,     kTileRows, scale_query,   pack_keys, pack_values, scores<false>, scores<true>,
          softmax, values,    stream_values, merge,     finish,      weights};
}

}  // namespace
}  // namespace rapt::RAPT_ISA
