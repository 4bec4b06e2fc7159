// Quantiles as tables of Student's distribution print them: another formula must fail here.
#include "heads/mean_interval.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/splitmix64.h"

namespace rapt {
namespace {

TEST(MeanInterval, SharesAreThoseOfTheTables) {
  EXPECT_NEAR(student_share(12.706, 1), 0.95, 1e-5);
  EXPECT_NEAR(student_share(4.303, 2), 0.95, 1e-5);
  EXPECT_NEAR(student_share(2.262, 9), 0.95, 1e-4);
  EXPECT_NEAR(student_share(2.179, 12), 0.95, 1e-4);
  EXPECT_NEAR(student_share(4.318, 12), 0.999, 1e-5);
  EXPECT_NEAR(student_share(1.984, 100), 0.95, 1e-4);
  EXPECT_EQ(student_share(0, 5), 0);
}

TEST(MeanInterval, IsAsWideAsItsLevelAndItsNumbers) {
  const std::vector<double> x = {1, 2, 3, 4, 5};
  const Interval got = student_interval(x, 0.95);
  EXPECT_NEAR(got.low, 3 - 2.776 * std::sqrt(0.5), 1e-3);
  EXPECT_NEAR(got.high, 3 + 2.776 * std::sqrt(0.5), 1e-3);
  const Interval wider = student_interval(x, 0.999);
  EXPECT_NEAR(wider.high - 3, 8.610 * std::sqrt(0.5), 1e-3);
  const std::vector<double> equal(7, 0.25);
  EXPECT_EQ(student_interval(equal, 0.999).low, 0.25);
  EXPECT_EQ(student_interval(equal, 0.999).high, 0.25);
}

// Where percentiles of resampled means cover 0.91.
TEST(MeanInterval, HoldsTheMeanOfFewNumbersAsOftenAsItSays) {
  constexpr int kDraws = 20'000, kTexts = 13;
  std::uint64_t drawn = 0;
  int held = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    std::vector<double> x(kTexts, -6);
    for (double& value : x)  // near enough to normal
      for (int k = 0; k < 12; ++k)
        value += static_cast<double>(splitmix64(3, ++drawn) >> 11) * 0x1p-53;
    const Interval got = student_interval(x, 0.95);
    held += got.low <= 0 && 0 <= got.high;
  }
  EXPECT_NEAR(static_cast<double>(held) / kDraws, 0.95, 0.006);
}

}  // namespace
}  // namespace rapt
