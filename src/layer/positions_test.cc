// Learned positions: each token gets the row of its position, whatever stands beside it.

#include "rapt/positions.h"

#include <gtest/gtest.h>

#include <limits>

#include "util.h"

namespace rapt {
namespace {

using test::error_of;
using test::Layout;
using test::normal;
using test::same_bits;
using test::Tensor;

constexpr Dims kExtents = {1, 3, 21, 13};

TEST(Positions, AddTheRowOfEachToken) {
  const Tensor table = normal({1, 1, 30, 13}, 1), x = normal(kExtents, 2);
  std::vector<std::int64_t> positions;
  for (int n = 0; n < 63; ++n) positions.push_back(n * 17 % 30);
  Tensor expected(kExtents);
  test::for_each_index(kExtents, [&](auto a, auto b, auto t, auto e) {
    expected.view.at(a, b, t, e) =
        x.view.at(a, b, t, e) + table.view.at(0, 0, positions[b * 21 + t], e);
  });
  for (const Layout layout : {Layout::kContiguous, Layout::kFeatureMajor, Layout::kReversed})
    for (const int threads : {1, 3}) {
      Tensor y(kExtents, layout), rows({1, 1, 30, 13}, layout);
      test::copy(x.view, y.view);
      test::copy(table.view, rows.view);
      add_positions(Threads(threads), rows.view, positions, y.view);
      EXPECT_TRUE(same_bits(y.view, expected.view)) << name(layout);
    }
}

// Rows of a left-padded batch, told their positions, are those of the sequence alone.
TEST(Positions, ExplicitOnesMakePaddingInvisible) {
  const Tensor table = normal({1, 1, 30, 13}, 1), x = normal(kExtents, 2);
  Tensor alone(kExtents), batch(kExtents);
  test::copy(x.view, alone.view);
  test::copy(x.view, batch.view);
  std::vector<std::int64_t> one, all;
  for (int t = 0; t < 21; ++t) one.push_back(t);
  for (int b = 0; b < 3; ++b)
    for (int t = 0; t < 21; ++t) all.push_back(std::max(t - 4 * b, 0));
  add_positions(Threads(2), table.view, one, alone.view);
  add_positions(Threads(2), table.view, all, batch.view);
  EXPECT_TRUE(same_bits(test::tokens(alone.view, 0, 1), test::tokens(batch.view, 0, 1)));
  for (int b = 1; b < 3; ++b)
    for (int t = 4 * b; t < 21; ++t)
      for (int e = 0; e < 13; ++e)
        ASSERT_EQ(batch.view.at(0, b, t, e),
                  x.view.at(0, b, t, e) + table.view.at(0, 0, t - 4 * b, e));
}

TEST(Positions, NameWhatIsWrong) {
  const auto add = [](const Dims& table, const std::vector<std::int64_t>& positions) {
    const Tensor rows(table), x({1, 2, 3, 4});
    return error_of([&] { add_positions(Threads(1), rows.view, positions, x.view); });
  };
  EXPECT_EQ(add({1, 1, 9, 4}, {0, 8, 3}), "no error");
  EXPECT_EQ(add({1, 1, 9, 5}, {0, 8, 3}),
            "add_positions.table: expected [1, 1, 9, 4], got [1, 1, 9, 5]");
  EXPECT_EQ(add({1, 1, 9, 4}, {0, 8}), "add_positions.positions: expected 6 or 3 positions, got 2");
  EXPECT_EQ(add({1, 1, 9, 4}, {0, 9, 3}), "add_positions.positions: expected 0 to 8, got 9");
  EXPECT_EQ(add({1, 1, 9, 4}, {0, -1, 3}), "add_positions.positions: expected 0 to 8, got -1");
}

}  // namespace
}  // namespace rapt
