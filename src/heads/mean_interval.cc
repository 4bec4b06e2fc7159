#include "heads/mean_interval.h"

#include <cmath>
#include <numbers>

namespace rapt {
namespace {

constexpr int kHalvings = 6;

/// atan x for x >= 0, whose last bits differ between libraries: its angle halved until few terms
/// do.
double arc_tangent(double x) {
  for (int n = 0; n < kHalvings; ++n) x /= 1 + std::sqrt(1 + x * x);
  double sum = 0;
  for (int k = 10; k >= 0; --k) sum = 1.0 / (2 * k + 1) - x * x * sum;
  return (1 << kHalvings) * x * sum;
}

/// The t that P(|T| <= t) is `share` for.
double student_quantile(double share, std::int64_t freedom) {
  double low = 0, high = 1;
  while (student_share(high, freedom) < share && high < 1e300) high *= 2;
  for (int n = 0; n < 100; ++n) {
    const double middle = low + (high - low) / 2;
    (student_share(middle, freedom) < share ? low : high) = middle;
  }
  return high;
}

}  // namespace

double student_share(double t, std::int64_t freedom) {
  const double root = std::sqrt(static_cast<double>(freedom)), tangent = t / root,
               cosine = 1 / std::sqrt(1 + tangent * tangent), sine = tangent * cosine;
  const bool odd = freedom % 2 != 0;
  double term = odd ? cosine : 1, sum = 0;
  for (std::int64_t k = odd ? 1 : 0; k <= freedom - 2; k += 2) {
    sum += term;
    term *= cosine * cosine * static_cast<double>(k + 1) / static_cast<double>(k + 2);
  }
  return odd ? 2 / std::numbers::pi * (arc_tangent(tangent) + sine * sum) : sine * sum;
}

Interval student_interval(std::span<const double> x, double level) {
  const auto n = static_cast<double>(x.size());
  const double mean = mean_of(x);
  double squares = 0;
  for (const double value : x) squares += (value - mean) * (value - mean);
  const double reach = squares == 0 ? 0
                                    : student_quantile(level, std::ssize(x) - 1) *
                                          std::sqrt(squares / (n * (n - 1)));
  return {mean - reach, mean + reach};
}

}  // namespace rapt
