// The stated errors, against long double (64 bits of significand, 11 more than f64).

#include "base/elementary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace rapt {
namespace {

static_assert(std::numeric_limits<long double>::digits >= 64, "the oracle needs more bits");

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr int kDraws = 200000;

/// |got - want| in units of the last place of an f64 of want's size.
double ulp_error(double got, long double want) {
  const int exponent = std::max(std::ilogb(want), -1022);
  return static_cast<double>(std::abs(got - want) / std::ldexp(1.0L, exponent - 52));
}

/// The largest error of f over draws from [first, last]; exact takes the same arguments.
template <class F, class Exact>
double worst_error(double first, double last, F&& f, Exact&& exact) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> draw(first, last);
  double worst = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = draw(random);
    worst = std::max(worst, ulp_error(f(x), exact(x)));
  }
  return worst;
}

/// Bits between those of two positive numbers: all sizes are drawn alike.
double any_size(double bits) { return std::bit_cast<double>(static_cast<std::uint64_t>(bits)); }

TEST(ElementaryTest, ExpErrorIsAsStated) {
  const auto f = [](double x) { return elementary::exp(x); };
  const auto exact = [](double x) { return std::exp(static_cast<long double>(x)); };
  for (const double range : {708.0, 1.0, 1e-3, 1e-9})
    EXPECT_LE(worst_error(-range, range, f, exact), 0.9) << range;
}

TEST(ElementaryTest, LogErrorIsAsStated) {
  const auto exact = [](double x) { return std::log(static_cast<long double>(x)); };
  EXPECT_LE(worst_error(0.5, 2.0, elementary::log, exact), 0.51);
  EXPECT_LE(worst_error(1 - 1e-6, 1 + 1e-6, elementary::log, exact), 0.51);
  const auto largest =
      static_cast<double>(std::bit_cast<std::uint64_t>(std::numeric_limits<double>::max()));
  EXPECT_LE(worst_error(
                1, largest, [](double b) { return elementary::log(any_size(b)); },
                [&](double b) { return exact(any_size(b)); }),
            0.51);
}

TEST(ElementaryTest, PowErrorIsAsStated) {
  // Bases as rotary positions have them, and others; |y ln x| <= 700.
  for (const double base : {1e4, 5e5, 1e6, 1.0001, 0.37, 3e-200}) {
    const double limit = std::min(700.0 / std::abs(std::log(base)), 1e6);
    EXPECT_LE(worst_error(
                  -limit, limit, [&](double y) { return elementary::pow(base, y); },
                  [&](double y) { return std::pow(static_cast<long double>(base), y); }),
              0.9)
        << base;
  }
}

TEST(ElementaryTest, SinAndCosErrorIsAsStated) {
  std::mt19937_64 random(2);
  for (const double range : {0x1p30, 1e6, 1e3, 4.0, 1e-3}) {
    std::uniform_real_distribution<double> draw(-range, range);
    for (int i = 0; i < kDraws; ++i) {
      const double x = draw(random);
      const elementary::SinCos got = elementary::sin_cos(x);
      ASSERT_LE(std::abs(got.sin - std::sin(static_cast<long double>(x))), 1.1 * 0x1p-53) << x;
      ASSERT_LE(std::abs(got.cos - std::cos(static_cast<long double>(x))), 1.1 * 0x1p-53) << x;
    }
  }
}

TEST(ElementaryTest, SpecialValues) {
  EXPECT_EQ(elementary::exp(0.0), 1.0);
  EXPECT_EQ(elementary::exp(-kInf), 0.0);
  EXPECT_EQ(elementary::exp(-708.01), 0.0);
  EXPECT_EQ(elementary::exp(kInf), kInf);
  EXPECT_EQ(elementary::exp(710.0), kInf);
  EXPECT_TRUE(std::isnan(elementary::exp(kNaN)));
  EXPECT_EQ(elementary::log(1.0), 0.0);
  EXPECT_EQ(elementary::log(0.0), -kInf);
  EXPECT_EQ(elementary::log(-0.0), -kInf);
  EXPECT_EQ(elementary::log(kInf), kInf);
  EXPECT_TRUE(std::isnan(elementary::log(-1.0)));
  EXPECT_TRUE(std::isnan(elementary::log(kNaN)));
  EXPECT_EQ(elementary::pow(10.0, 0.0), 1.0);
  EXPECT_EQ(elementary::pow(2.0, 10.0), 1024.0);
  EXPECT_EQ(elementary::sin_cos(0.0).sin, 0.0);
  EXPECT_EQ(elementary::sin_cos(0.0).cos, 1.0);
  for (const double x : {0x1p30, -0x1p30, kInf, kNaN}) {
    EXPECT_TRUE(std::isnan(elementary::sin_cos(x).sin)) << x;
    EXPECT_TRUE(std::isnan(elementary::sin_cos(x).cos)) << x;
  }
}

}  // namespace
}  // namespace rapt
