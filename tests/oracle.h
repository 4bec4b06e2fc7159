#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "attention/reference.h"
#include "util.h"

namespace rapt::test {

/// The f64 result on some query tokens, and how far from it f32 may be:
///
///     max |o - o64| <= 2 e + 2^-23 max|v|,   e = max |o32 - o64| of the two-pass f32 loop,
///
/// and likewise for lse, with max(1, max|lse64|) in the place of max|v|. Modifiers are added in units
/// of log2, where a score is 1.44 times as large and a bias is rounded once more than in the loop:
/// then 3 e, and 2^-22 for lse. Denormals are rounded in absolute steps, hence 2^-150 more a key.
///
/// In native bf16 every weight is off by up to 2^-8 of itself: o by 2^-8 max|v_j - o| / (1 - 2^-8), lse
/// by -ln(1 - 2^-8); and what is below 2^-126 is lost, in v once and in each of its sums.
struct Oracle {
  std::vector<std::int64_t> rows;
  double o_error = 0, lse_error = 0;  // e; before `exact`, whose initialiser learns it
  ReferenceAttention<double> exact;
  double largest_v = 0, largest_lse = 1;
  double steps = 0, roundings = 1;
  bool native = false;

  Oracle(const Problem& problem, const ReferenceMask& mask, const Inputs& in,
         std::vector<std::int64_t> query_tokens)
      : rows(std::move(query_tokens)), exact(learn(problem, mask, in)) {
    steps = 4 + static_cast<double>(problem.kv_tokens);
    native = problem.arithmetic == Arithmetic::kNativeBF16;
    roundings = problem.modifiers.changes_scores() ? 2 : 1;
    for_each_index(in.v.extents, [&](auto b, auto j, auto h, auto e) {
      largest_v = std::max<double>(largest_v, std::abs(in.v.at(b, j, h, e)));
    });
    for (const double lse : exact.lse)
      if (std::isfinite(lse)) largest_lse = std::max(largest_lse, std::abs(lse));
  }

  /// Where keys nearly tie, one row decides both errors, and the loop's may be small by luck. So e
  /// is taken over `draws` more: the same rows with their queries scaled by factors near 1, which
  /// rounds anew and keeps the ties.
  void learn_scaled(const Problem& problem, const ReferenceMask& mask, const Inputs& in,
                    int draws) {
    Tensor q(in.q.extents);
    for (int draw = 1; draw <= draws; ++draw) {
      for_each_index(q.view.extents, [&](auto b, auto i, auto h, auto e) {
        q.view.at(b, i, h, e) = in.q.at(b, i, h, e) * (1 + static_cast<float>(draw) / 128);
      });
      Inputs scaled = in;
      scaled.q = q.view;
      learn(problem, mask, scaled);
    }
  }

  double o_bound() const {
    const double of_f32 = (1 + roundings) * o_error + 0x1p-23 * largest_v + steps * 0x1p-150;
    return native ? of_f32 + 1.004 * 0x1p-7 * largest_v + 2 * steps * 0x1p-126 : of_f32;
  }
  double lse_bound() const {
    const double of_f32 = (1 + roundings) * lse_error + roundings * 0x1p-23 * largest_lse;
    return native ? of_f32 + 1.002 * 0x1p-8 : of_f32;
  }

  static double difference(double a, double b) { return a == b ? 0 : std::abs(a - b); }

 private:
  /// Takes the loop's error on these inputs into e. Returns their f64 result.
  ReferenceAttention<double> learn(const Problem& problem, const ReferenceMask& mask,
                                   const Inputs& in) {
    const ReferenceInputs tensors{in.q, in.k, in.v, in.bias};
    auto truth = reference_attention<double>(problem, mask, tensors, rows);
    const auto loop = reference_attention<float>(problem, mask, tensors, rows);
    o_error = std::max(o_error, largest_difference(loop.o, truth.o));
    lse_error = std::max(lse_error, largest_difference(loop.lse, truth.lse));
    return truth;
  }

  static double largest_difference(const std::vector<float>& a, const std::vector<double>& b) {
    double largest = 0;
    for (std::size_t n = 0; n < a.size(); ++n) largest = std::max(largest, difference(a[n], b[n]));
    return largest;
  }
};

/// Most that rounding x to a type adds to an error `so_far`.
inline double rounding_error(double x, double so_far, DType dtype) {
  const double largest = std::abs(x) + so_far;
  if (dtype == DType::kBF16) return 0x1p-8 * largest + 0x1p-134;
  if (dtype == DType::kF16) return 0x1p-11 * largest + 0x1p-25;
  return 0;
}

/// Whether o and lse keep the oracle's bounds, and rows that see nothing are exactly empty. An o of
/// another type has been rounded once more.
inline testing::AssertionResult within_bound(const Oracle& oracle, const MutableTensor& o,
                                             const MutableTensor& lse,
                                             DType o_dtype = DType::kF32) {
  const std::int64_t batch = o.extents[0], heads = o.extents[2], features = o.extents[3];
  std::size_t n = 0;
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t h = 0; h < heads; ++h)
      for (const std::int64_t i : oracle.rows) {
        const auto failure = [&](const char* what, double got, double exact, double bound) {
          return testing::AssertionFailure()
                 << what << " of sequence " << b << ", head " << h << ", query " << i << ": " << got
                 << " against " << exact << ", error " << std::abs(got - exact) << " > " << bound;
        };
        const double exact_lse = oracle.exact.lse[n];
        const float got_lse = lse.at(0, b, h, i);
        if (!(Oracle::difference(got_lse, exact_lse) <= oracle.lse_bound()))
          return failure("lse", got_lse, exact_lse, oracle.lse_bound());
        for (std::int64_t e = 0; e < features; ++e) {
          const double exact = oracle.exact.o[n * features + e];
          const float got = o.at(b, i, h, e);
          const double bound = oracle.o_bound() + rounding_error(exact, oracle.o_bound(), o_dtype);
          if (std::isinf(exact_lse) ? bits(got) != 0 : !(Oracle::difference(got, exact) <= bound))
            return failure("o", got, exact, bound);
        }
        ++n;
      }
  return testing::AssertionSuccess();
}

}  // namespace rapt::test
