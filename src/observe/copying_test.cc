#include "rapt/copying.h"

#include <gtest/gtest.h>

#include <cmath>

#include "util.h"

namespace rapt::test {
namespace {

TEST(CopyingScore, OfHeadsThatCopySuppressAndDoNeither) {
  const Tensor w_v = normal({1, 1, 8, 24}, 3);
  Tensor w_o({1, 1, 24, 8}), negative({1, 1, 24, 8}), reversed({1, 1, 24, 24});
  for_each_index(w_o.view.extents, [&](auto, auto, auto r, auto c) {
    w_o.view.at(0, 0, r, c) = w_v.view.at(0, 0, c, r);
    negative.view.at(0, 0, r, c) = -w_v.view.at(0, 0, c, r);
  });
  for (std::int64_t n = 0; n < 24; ++n) reversed.view.at(0, 0, n, n) = -2.0f;
  EXPECT_NEAR(copying_score(w_v.view, w_o.view), 1.0, 1e-12);
  EXPECT_NEAR(copying_score(w_v.view, negative.view), -1.0, 1e-12);
  EXPECT_NEAR(copying_score(w_v.view, w_o.view, reversed.view), -1.0, 1e-12);
  // Eigenvalues 1 +- 2i: 2 / (2 sqrt(5)).
  Tensor turn({1, 1, 2, 2}), one({1, 1, 2, 2});
  turn.view.at(0, 0, 0, 0) = turn.view.at(0, 0, 1, 1) = 1;
  turn.view.at(0, 0, 0, 1) = -2;
  turn.view.at(0, 0, 1, 0) = 2;
  one.view.at(0, 0, 0, 0) = one.view.at(0, 0, 1, 1) = 1;
  EXPECT_NEAR(copying_score(turn.view, one.view), 1 / std::sqrt(5.0), 1e-15);
  turn.view.at(0, 0, 1, 0) = NAN;
  EXPECT_EQ(error_of([&] { copying_score(turn.view, one.view); }),
            "copying_score w_v: expected finite weights, got nan");
  EXPECT_EQ(error_of([&] { copying_score(one.view, turn.view); }),
            "copying_score w_o: expected finite weights, got nan");
  EXPECT_EQ(error_of([&] { copying_score(one.view, one.view, turn.view); }),
            "copying_score between: expected finite weights, got nan");
  const Tensor zeros({1, 1, 24, 8});
  EXPECT_TRUE(std::isnan(copying_score(w_v.view, zeros.view)));
  EXPECT_EQ(error_of([&] { copying_score(w_v.view, w_v.view); }),
            "copying_score w_o: expected [1, 1, 24, 8], got [1, 1, 8, 24]");
}

// Random weights neither copy nor suppress.
TEST(CopyingScore, OfRandomWeightsIsNearZero) {
  for (const std::uint64_t seed : {1, 2, 3, 4})
    EXPECT_LT(std::abs(copying_score(normal({1, 1, 48, 96}, seed).view,
                                     normal({1, 1, 96, 48}, seed + 100).view)),
              0.2)
        << seed;
}

}  // namespace
}  // namespace rapt::test
