#include "canonical_order.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/math/math.h"
#include "simd/exp2_poly.h"

namespace rapt::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr std::int64_t kSlots = 512;  // of a chunk
constexpr int kLanes = 16;
constexpr double kLog2E = 1.4426950408889634;

/// p = 2^n P(f) with s - m = n + f, n the nearest integer, ties to even; +0 below 2^-125.
///
/// In double, s - m is exact wherever n >= -125 is possible.
float weight(float s, float m) {
  if (s == -kInfinity) return 0.0f;  // also where m is -inf: no live score is larger
  const double distance = static_cast<double>(s) - static_cast<double>(m);
  if (std::isnan(distance)) return kNan;
  const double n = std::nearbyint(distance);
  if (n < -125) return 0.0f;
  const float f = static_cast<float>(distance - n);
  float p = kExp2C5;
  for (const float c : {kExp2C4, kExp2C3, kExp2C2, kExp2C1, 1.0f}) p = std::fma(p, f, c);
  return std::ldexp(p, static_cast<int>(n));
}

/// Factor of a side whose maximum is m, when the larger maximum is `larger`.
float rescale(float m, float larger) {
  if (m == larger) return 1.0f;
  const double n = static_cast<double>(m) - static_cast<double>(larger);
  return n < -125 ? 0.0f : std::ldexp(1.0f, static_cast<int>(n));
}

/// The fixed tree over 16 lanes: halves are added until one is left.
float lane_sum(float (&lane)[kLanes]) {
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int n = 0; n < half; ++n) lane[n] += lane[n + half];
  return lane[0];
}

/// Arithmetic of native bf16. A denormal is the zero of its sign.
float flushed(float x) { return std::abs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }

/// a b + c rounded once as if exponents had no bound, then flushed. Where it is small, so are a b and c,
/// or they cancel exactly.
float flushed_fma(float a, float b, float c) {
  const float x = std::fma(a, b, c);
  if (!(std::abs(x) < 0x1p-100f) || std::abs(c) > 1) return x;
  const float large = std::fma(a * 0x1p32f, b * 0x1p32f, c * 0x1p64f);
  return std::abs(large) < 0x1p-62f ? std::copysign(0.0f, x) : std::ldexp(large, -64);
}

/// One step of a chain over pairs: the odd element, then the even one.
float dot_pair(float even_a, float even_b, float odd_a, float odd_b, float sum) {
  return flushed_fma(flushed(even_a), flushed(even_b),
                     flushed_fma(flushed(odd_a), flushed(odd_b), sum));
}

CanonicalNode merge(const CanonicalNode& a, const CanonicalNode& b) {
  const CanonicalNode& kept = a.m >= b.m ? a : b;
  const CanonicalNode& other = a.m >= b.m ? b : a;
  const float w = rescale(other.m, kept.m);
  CanonicalNode sum{kept.m, std::fma(w, other.l, kept.l), kept.acc};
  for (std::size_t e = 0; e < sum.acc.size(); ++e)
    sum.acc[e] = std::fma(w, other.acc[e], kept.acc[e]) + 0.0f;
  return sum;
}

}  // namespace

bool CanonicalRow::sees(std::int64_t j) const {
  return reference_visible(problem, mask, b, h, i, j) &&
         !(problem.modifiers.additive_bias && bias(j) == -kInfinity);
}

float CanonicalRow::bias(std::int64_t j) const {
  const Dims& e = in.bias.extents;
  return in.bias.at(e[0] == 1 ? 0 : b, e[1] == 1 ? 0 : h, e[2] == 1 ? 0 : i, e[3] == 1 ? 0 : j);
}

float CanonicalRow::score(std::int64_t j) const {
  const ScoreModifiers& modifiers = problem.modifiers;
  const float scale =
      problem.scale ? *problem.scale : static_cast<float>(1 / std::sqrt(double(problem.head_dim)));
  const float c = modifiers.softcap ? scale : static_cast<float>(double{scale} * kLog2E);
  const std::int64_t kv_head = h / (problem.q_heads / problem.kv_heads);
  float s = 0.0f;
  if (problem.arithmetic == Arithmetic::kNativeBF16) {
    const auto odd = [&](const AnyConstTensor& x, std::int64_t t, std::int64_t head,
                         std::int64_t e) { return e < problem.head_dim ? x.at(b, t, head, e) : 0; };
    for (std::int64_t e = 0; e < problem.head_dim; e += 2)
      s = dot_pair(in.q.at(b, i, h, e), in.k.at(b, j, kv_head, e), odd(in.q, i, h, e + 1),
                   odd(in.k, j, kv_head, e + 1), s);
    s = c * s;
  } else {
    for (std::int64_t e = 0; e < problem.head_dim; ++e)
      s = std::fma(c * in.q.at(b, i, h, e), in.k.at(b, j, kv_head, e), s);
  }
  if (scales != nullptr) s = s * scales->k.view.at(0, b, kv_head, j);
  if (modifiers.softcap) {
    float ratio = s / *modifiers.softcap, curve;
    math_kernels().tanh(&ratio, &curve, 1);
    s = *modifiers.softcap * curve * static_cast<float>(kLog2E);
  }
  const std::int64_t distance = problem.kv_position(b, j) - problem.q_position(b, i);
  if (!modifiers.alibi_slopes.empty())
    s = std::fma(static_cast<float>(-modifiers.alibi_slopes[h] * kLog2E),
                 static_cast<float>(std::abs(distance)), s);
  const auto add = [&](float addend) {
    const bool finite = std::isfinite(s) && std::isfinite(addend);
    s = std::fma(addend, static_cast<float>(kLog2E), s);
    constexpr float kLargest = std::numeric_limits<float>::max();
    if (finite) s = std::clamp(s, -kLargest, kLargest);
  };
  if (modifiers.relative_bias)
    add(modifiers.relative_bias
            ->table[modifiers.relative_bias->bucket(distance) * problem.q_heads + h]);
  if (modifiers.additive_bias) add(bias(j));
  return s;
}

CanonicalNode CanonicalRow::chunk(std::int64_t index) const {
  const std::int64_t origin = problem.kv_ranges.empty() ? 0 : problem.kv_ranges[b].begin;
  const std::int64_t end = problem.kv_ranges.empty() ? problem.kv_tokens : problem.kv_ranges[b].end;
  const std::int64_t first = origin + index * kSlots;
  const std::int64_t last = std::min(first + kSlots, end);
  const std::int64_t kv_head = h / (problem.q_heads / problem.kv_heads);

  std::vector<std::int64_t> keys;  // tokens, visible, ascending
  std::vector<float> scores;
  float max = -kInfinity;
  for (std::int64_t j = first; j < last; ++j) {
    if (!sees(j)) continue;
    keys.push_back(j);
    scores.push_back(score(j));
    if (scores.back() > max) max = scores.back();  // a NaN is not larger
  }

  CanonicalNode node{std::ceil(max) + 0.0f, 0.0f, std::vector<float>(in.v.extents[3], 0.0f)};
  float lane[kLanes] = {};
  const bool native = problem.arithmetic == Arithmetic::kNativeBF16;
  std::vector<float> p(keys.size());
  for (std::size_t n = 0; n < keys.size(); ++n) {
    p[n] = rounded(weight(scores[n], node.m), native ? DType::kBF16 : DType::kF32);
    lane[(keys[n] - origin) % kLanes] += p[n];
  }
  for (std::size_t e = 0; e < node.acc.size(); ++e) {
    float& acc = node.acc[e];
    const auto value = [&](std::size_t n) {
      return in.v.at(b, keys[n], kv_head, static_cast<std::int64_t>(e));
    };
    for (std::size_t n = 0; n < keys.size(); ++n) {
      const std::int64_t slot = keys[n] - origin;
      if (!native)
        acc = std::fma(scales == nullptr ? p[n] : p[n] * scales->v.view.at(0, b, kv_head, keys[n]),
                       value(n), acc);
      else if (slot % 2 != 0)  // its pair's even key is hidden
        acc = dot_pair(0, 0, p[n], value(n), acc);
      else if (n + 1 < keys.size() && keys[n + 1] == keys[n] + 1)
        acc = dot_pair(p[n], value(n), p[n + 1], value(n + 1), acc), ++n;
      else
        acc = dot_pair(p[n], value(n), 0, 0, acc);
    }
  }
  node.l = lane_sum(lane);
  for (float& x : node.acc) x += 0.0f;
  return node;
}

CanonicalNode CanonicalRow::node(int level, std::int64_t index) const {
  if ((index << level) * kSlots >= problem.kv_tokens)  // beyond the last key: nothing seen
    return {-kInfinity, 0.0f, std::vector<float>(in.v.extents[3], 0.0f)};
  if (level == 0) return chunk(index);
  return merge(node(level - 1, 2 * index), node(level - 1, 2 * index + 1));
}

CanonicalNode CanonicalRow::root() const {
  int level = 0;
  while ((kSlots << level) < problem.kv_tokens) ++level;
  const CanonicalNode all = node(level, 0);
  if (problem.modifiers.sinks.empty()) return all;
  const float sink = static_cast<float>(problem.modifiers.sinks[h] * kLog2E);
  const float m = std::ceil(sink) + 0.0f;
  return merge({m, weight(sink, m), std::vector<float>(all.acc.size(), 0.0f)}, all);
}

float canonical_output(const CanonicalNode& node, std::int64_t e) {
  const float o = node.l == 0.0f ? 0.0f : node.acc[e] / node.l;
  return std::isnan(o) ? kNan : o;
}

float canonical_lse(const CanonicalNode& node) {
  float log2_l;
  math_kernels().log2(&node.l, &log2_l, 1);
  const float lse = (node.m + log2_l) * 0x1.62e43p-1f;  // ln 2
  return std::isnan(lse) ? kNan : lse;
}

testing::AssertionResult canonical_bits(const Problem& problem, const ReferenceMask& mask,
                                        const Inputs& in, const Outputs& out,
                                        const std::vector<std::int64_t>& rows,
                                        const CanonicalScales* scales) {
  const auto same = [](float a, float b) {
    return std::isnan(a) ? std::isnan(b) : bits(a) == bits(b);
  };
  for (std::int64_t b = 0; b < problem.batch; ++b)
    for (std::int64_t h = 0; h < problem.q_heads; ++h)
      for (const std::int64_t i : rows) {
        const CanonicalNode root = CanonicalRow{problem, mask, in, b, h, i, scales}.root();
        const auto failure = [&](const char* what, float expected, float got) {
          return testing::AssertionFailure()
                 << what << " of sequence " << b << ", head " << h << ", query " << i
                 << ": canonical " << expected << ", got " << got;
        };
        const float m = out.m.view.at(0, b, h, i), l = out.l.view.at(0, b, h, i);
        if (!same(root.m, m)) return failure("m", root.m, m);
        if (!same(root.l, l)) return failure("l", root.l, l);
        const float expected_lse = canonical_lse(root), lse = out.lse.view.at(0, b, h, i);
        if (bits(expected_lse) != bits(lse)) return failure("lse", expected_lse, lse);
        for (std::int64_t e = 0; e < problem.value_dim(); ++e) {
          const float expected = rounded(canonical_output(root, e), out.o_dtype),
                      got = out.o.view.at(b, i, h, e);
          if (bits(expected) != bits(got)) return failure("o", expected, got);
        }
      }
  return testing::AssertionSuccess();
}

}  // namespace rapt::test
