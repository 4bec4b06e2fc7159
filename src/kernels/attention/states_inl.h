#pragma once

// Merge, sinks and finish: steps 5 and 6 of docs/numerics.md.

#include "kernels/attention/softmax_inl.h"

namespace rapt::RAPT_ISA {
namespace {

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
      const float* large = side_larger ? side : acc;
      const float* small = side_larger ? acc : side;
      for (std::int64_t e = 0; e < v_stride; e += 16)
        store(acc + e, add(fma(load(small + e), w, load(large + e)), zero()));
      const F32x16 a = broadcast(sides[i].l[r]), b = broadcast(into.l[r]);
      float lanes[16];
      store(lanes, side_larger ? fma(b, w, a) : fma(a, w, b));
      into.l[r] = lanes[0];
      into.m[r] = m;
    }
  }
}

/// The node of a logit alone: m its integer, l = 2^(s - m), nothing of a value.
inline void join_sinks(std::int64_t rows, std::int64_t v_stride, const float* sinks,
                       const StateRows& state) noexcept {
  for (std::int64_t r = 0; r < rows; ++r) {
    F32x16 p[1] = {broadcast(sinks[r])};
    const float sink_m = reduce_max(ceil(p[0])) + 0.0f, state_m = state.m[r];
    const F32x16 shift[1] = {broadcast(weight_shift(sink_m, is_large(sink_m)))};
    if (is_large(sink_m))
      weights_of<true>(p, shift);
    else
      weights_of<false>(p, shift);
    const bool sink_larger = sink_m > state_m;
    const float m = sink_larger ? sink_m : state_m;
    const F32x16 w = broadcast(merge_weight(sink_larger ? state_m : sink_m, m));
    const F32x16 l = broadcast(state.l[r]);
    float lanes[16];
    store(lanes, sink_larger ? fma(l, w, p[0]) : fma(p[0], w, l));
    state.l[r] = lanes[0];
    state.m[r] = m;
    if (!sink_larger) continue;
    float* acc = state.acc + r * v_stride;
    for (std::int64_t e = 0; e < v_stride; e += 16)
      store(acc + e, add(mul(load(acc + e), w), zero()));
  }
}

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

}  // namespace
}  // namespace rapt::RAPT_ISA
