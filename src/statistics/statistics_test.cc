// Statistics against published examples, and on data without any effect.
#include "rapt/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/splitmix64.h"
#include "util.h"

namespace rapt::test {
namespace {

using Numbers = std::vector<double>;

Numbers noise(Rng& rng, int count, double mean = 0) {
  Numbers x;
  for (int n = 0; n < count; ++n) x.push_back(mean + rng.normal());
  return x;
}

TEST(Statistics, SignFlipsAreFishersOfDarwinsMaize) {
  const Numbers heights = {49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48};
  EXPECT_EQ(sign_flip_p(heights, Tail::kAbove), 863.0 / 32768);
  EXPECT_EQ(sign_flip_p(heights), 1726.0 / 32768);
}

TEST(Statistics, SignFlipsOfFewNumbersAreCounted) {
  EXPECT_EQ(sign_flip_p(Numbers{3}), 1);
  EXPECT_EQ(sign_flip_p(Numbers{3}, Tail::kAbove), 0.5);
  EXPECT_EQ(sign_flip_p(Numbers{-3}, Tail::kAbove), 1);
  EXPECT_EQ(sign_flip_p(Numbers{0.1, 0.2, 0.3}, Tail::kAbove), 1.0 / 8);
  EXPECT_EQ(sign_flip_p(Numbers{0.1, 0.2, -0.3}), 1);        // 0 within rounding
  EXPECT_EQ(sign_flip_p(Numbers{0.2, 0.1, -0.1}), 6.0 / 8);  // ties count
}

// All signs one by one, in the order of a counter.
TEST(Statistics, SignFlipsAreThoseCountedOneByOne) {
  Rng rng(1);
  for (const int count : {1, 2, 7, 13})
    for (const double mean : {0.0, 0.5}) {
      const Numbers x = noise(rng, count, mean);
      double seen = 0;
      for (const double value : x) seen += value;
      int above = 0, both = 0;
      for (int signs = 0; signs < 1 << count; ++signs) {
        double sum = 0;
        for (int n = 0; n < count; ++n) sum += (signs >> n & 1) != 0 ? x[n] : -x[n];
        above += sum >= seen - 1e-9;
        both += std::abs(sum) >= std::abs(seen) - 1e-9;
      }
      EXPECT_EQ(sign_flip_p(x, Tail::kAbove), std::ldexp(above, -count)) << count;
      EXPECT_EQ(sign_flip_p(x), std::ldexp(both, -count)) << count;
    }
}

TEST(Statistics, SignFlipsOfManyNumbersAreOfGroups) {
  EXPECT_EQ(sign_flip_p(Numbers(32, 1.0), Tail::kAbove), 0x1p-32);
  EXPECT_EQ(sign_flip_p(Numbers(32, 1.0)), 0x1p-31);
  EXPECT_EQ(sign_flip_p(Numbers(100, 1.0), Tail::kAbove), 0x1p-32);
  Numbers few = {3, -1, 2, 0.5}, padded = few, halves;
  const double p = sign_flip_p(few);
  padded.resize(32);  // zeros change no sum
  EXPECT_EQ(sign_flip_p(padded), p);
  for (int turn = 0; turn < 2; ++turn)
    for (const double value : padded) halves.push_back(value / 2);
  EXPECT_EQ(sign_flip_p(halves), p);
}

TEST(Statistics, TextsNeededAreTheFewestThatSuffice) {
  EXPECT_EQ(texts_needed(1, 0.05), 6);
  EXPECT_EQ(texts_needed(1, 0.05, Tail::kAbove), 5);
  EXPECT_EQ(texts_needed(32, 0.05), 11);
  for (const std::int64_t tests : {1, 20, 32, 8192, 100'000'000})
    for (const Tail tail : {Tail::kBoth, Tail::kAbove}) {
      const std::int64_t texts = texts_needed(tests, 0.05, tail);
      EXPECT_LE(sign_flip_p(Numbers(texts, 1.0), tail) * static_cast<double>(tests), 0.05);
      EXPECT_GT(sign_flip_p(Numbers(texts - 1, 1.0), tail) * static_cast<double>(tests), 0.05);
    }
}

TEST(Statistics, BenjaminiAndHochbergsOwnExample) {
  const Numbers p = {0.7590, 0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298,
                     0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 1.0000};
  const Numbers q = benjamini_hochberg(p);
  for (std::size_t n = 0; n < p.size(); ++n) EXPECT_EQ(q[n] <= 0.05, n >= 1 && n <= 4) << n;
  EXPECT_DOUBLE_EQ(q[1], 15 * 0.0001);
  EXPECT_DOUBLE_EQ(q[6], 15 * 0.0298 / 7);  // that of a larger p, which is smaller
  EXPECT_EQ(q[14], 1);
  EXPECT_TRUE(benjamini_hochberg(Numbers{}).empty());
}

TEST(Statistics, NothingIsFoundInNoiseMoreOftenThanSaid) {
  Rng rng(1);
  int single = 0, families = 0;
  for (int family = 0; family < 2000; ++family) {
    Numbers p;
    for (int n = 0; n < 5; ++n) p.push_back(sign_flip_p(noise(rng, 10)));
    for (const double value : p) single += value <= 0.05;
    const Numbers q = benjamini_hochberg(p);
    families += std::ranges::any_of(q, [](double value) { return value <= 0.05; });
  }
  EXPECT_NEAR(single, 500, 5 * std::sqrt(500));  // of 10,000
  EXPECT_NEAR(families, 100, 5 * std::sqrt(100));
}

// Of the heads of a large model: 8,192 tests, one finding, as many texts as are said to be needed.
TEST(Statistics, OneFindingOfManyPassesWithTheTextsNeeded) {
  const std::int64_t tests = 8192, texts = texts_needed(tests, 0.05, Tail::kAbove);
  EXPECT_EQ(texts, 18);
  for (const std::int64_t count : {texts, texts + 30}) {
    Numbers p(static_cast<std::size_t>(tests), 1.0);
    p[77] = sign_flip_p(Numbers(static_cast<std::size_t>(count), 1.0), Tail::kAbove);
    EXPECT_LE(benjamini_hochberg(p)[77], 0.05) << count;
  }
}

TEST(Statistics, WhatIsThereIsFound) {
  Rng rng(2);
  Numbers p;
  for (int n = 0; n < 20; ++n) p.push_back(sign_flip_p(noise(rng, 12, n < 3 ? 3.0 : 0.0)));
  const Numbers q = benjamini_hochberg(p);
  for (int n = 0; n < 3; ++n) EXPECT_LE(q[n], 0.05);
}

TEST(Statistics, BootstrapOfTwoNumbersIsTheirs) {
  const Interval interval =
      bootstrap_mean_interval(Numbers{1, 2});  // a quarter of means at each end
  EXPECT_EQ(interval.low, 1);
  EXPECT_EQ(interval.high, 2);
  const Interval half = bootstrap_mean_interval(Numbers{1, 2}, {.level = 0.4});
  EXPECT_EQ(half.low, 1.5);
  EXPECT_EQ(half.high, 1.5);
}

TEST(Statistics, BootstrapHoldsTheMeanAboutAsOftenAsSaid) {
  Rng rng(3);
  int held = 0;
  for (int n = 0; n < 400; ++n) {
    const Interval interval = bootstrap_mean_interval(noise(rng, 30, 1), {.draws = 400});
    held += interval.low <= 1 && 1 <= interval.high;
  }
  EXPECT_GE(held, 360);
  EXPECT_LE(held, 396);
}

TEST(Statistics, RankCorrelationIsThePublishedOne) {
  const Numbers iq = {106, 86, 100, 101, 99, 103, 97, 113, 112, 110},
                hours = {7, 0, 27, 50, 28, 29, 20, 12, 6, 17};
  EXPECT_NEAR(rank_correlation(iq, hours), -29.0 / 165, 1e-15);
  EXPECT_DOUBLE_EQ(rank_correlation(Numbers{1, 2, 2, 3}, Numbers{1, 2, 2, 9}), 1);
  EXPECT_DOUBLE_EQ(rank_correlation(Numbers{1, 2, 2, 3}, Numbers{1, 3, 2, 4}),
                   4.5 / std::sqrt(22.5));
  EXPECT_TRUE(std::isnan(rank_correlation(Numbers{1, 1}, Numbers{1, 2})));
}

TEST(Statistics, HalvesAgreeOnWhatDiffersBetweenUnits) {
  Rng rng(4);
  std::vector<Numbers> apart, alike;
  for (int n = 0; n < 20; ++n) {
    apart.push_back(noise(rng, 13, n));
    alike.push_back(noise(rng, 13));
  }
  EXPECT_GT(split_half_correlation(apart), 0.95);
  EXPECT_LT(std::abs(split_half_correlation(alike)), 0.5);
  EXPECT_EQ(split_half_correlation(apart), split_half_correlation(apart));
}

TEST(Statistics, DrawsAreDifferentNumbers) {
  std::set<std::vector<std::int64_t>> seen;
  for (std::uint64_t n = 0; n < 50; ++n) {
    const auto drawn = draw_without_replacement(9, 4, 1, n);
    const std::set<std::int64_t> unique(drawn.begin(), drawn.end());
    EXPECT_EQ(unique.size(), 4u);
    EXPECT_LT(*unique.rbegin(), 9);
    seen.insert(drawn);
  }
  EXPECT_GT(seen.size(), 45u);
}

TEST(Statistics, RefusesWhatHasNoAnswer) {
  const Numbers nan = {1, std::numeric_limits<double>::quiet_NaN()};
  const auto refuses = [](const std::string& expected, auto&& f) {
    const std::string got = error_of(f);
    EXPECT_NE(got.find(expected), std::string::npos) << got;
  };
  refuses("bootstrap_mean_interval.x: expected at least 2 numbers, got 1",
          [] { bootstrap_mean_interval(Numbers{1}); });
  refuses("bootstrap_mean_interval.x: expected finite numbers",
          [&] { bootstrap_mean_interval(nan); });
  refuses("bootstrap_mean_interval.level", [] {
    bootstrap_mean_interval(Numbers{1, 2}, {.level = 1});
  });
  refuses("sign_flip_p.x: expected at least 1", [] { sign_flip_p(Numbers{}); });
  refuses("texts_needed.tests: expected a positive number, got 0", [] { texts_needed(0, 0.05); });
  refuses("texts_needed.tests: expected fewer, of which one finding can pass at this level, got 1",
          [] { texts_needed(1'000'000'000, 0.05); });
  refuses("benjamini_hochberg.p: expected numbers within [0, 1], got 1.5",
          [] { benjamini_hochberg(Numbers{1.5}); });
  refuses("rank_correlation: expected as many numbers on both sides, two or more, got 1 and 2", [] {
    rank_correlation(Numbers{1}, Numbers{1, 2});
  });
  refuses("rows of 2 numbers, got 3", [] {
    split_half_correlation(std::vector<Numbers>{{1, 2}, {1, 2, 3}});
  });
  refuses("0 to 3, got 4", [] { draw_without_replacement(3, 4, 1); });
}

}  // namespace
}  // namespace rapt::test
