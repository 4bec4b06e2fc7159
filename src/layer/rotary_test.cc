// Rotary positions: tables near f64, rotation with the bits of the formula for both styles, every
// layout, number of threads and instruction set; scores depend on distances only; errors named. A
// swapped sign, a wrong partner or an angle of the wrong pair must fail here.

#include "rapt/rotary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "util.h"

namespace rapt {
namespace {

using test::error_of;
using test::Layout;
using test::normal;
using test::same_bits;
using test::sequence;
using test::Tensor;
using test::tokens;

constexpr RotaryStyle kStyles[] = {RotaryStyle::kHalf, RotaryStyle::kInterleaved};

std::vector<std::int64_t> range(std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> positions(end - begin);
  std::iota(positions.begin(), positions.end(), begin);
  return positions;
}

/// The two features that make pair i.
std::pair<std::int64_t, std::int64_t> partners(RotaryStyle style, std::int64_t pairs,
                                               std::int64_t i) {
  if (style == RotaryStyle::kHalf) return {i, i + pairs};
  return {2 * i, 2 * i + 1};
}

/// The contract, written out.
Tensor plain(const RotaryTable& table, const ConstTensor& x) {
  Tensor y(x.extents);
  test::copy(x, y.view);
  test::for_each_index(
      {x.extents[0], x.extents[1], x.extents[2], table.pairs()},
      [&](auto b, auto t, auto h, auto i) {
        const std::int64_t token = table.tokens() == x.extents[1] ? t : b * x.extents[1] + t;
        const float cos = table.cos[token * table.pairs() + i],
                    sin = table.sin[token * table.pairs() + i];
        const auto [first, second] = partners(table.config.style, table.pairs(), i);
        const float x0 = x.at(b, t, h, first), x1 = x.at(b, t, h, second);
        y.view.at(b, t, h, first) = std::fma(x0, cos, -(x1 * sin));
        y.view.at(b, t, h, second) = std::fma(x1, cos, x0 * sin);
      });
  return y;
}

TEST(Rotary, TablesAreNearF64) {
  for (const double theta : {10000.0, 500000.0, 1e6})
    for (const std::int64_t dims : {2, 64, 128}) {
      const Rotary rotary(dims, theta);
      const std::vector<std::int64_t> positions = {0, 1, 2, 1000, 131071, 7, -3};
      const RotaryTable table = rotary.table(positions);
      ASSERT_EQ(table.tokens(), 7);
      ASSERT_EQ(table.pairs(), dims / 2);
      for (std::int64_t i = 0; i < table.pairs(); ++i) {
        const double exact =
            std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dims));
        // 2i / R rounded once moves the power by ln theta u, its rounding and that of 1 / x by 2 u.
        EXPECT_NEAR(rotary.inv_freq()[i], exact, (std::log(theta) + 2) * 0x1p-24 * exact);
        for (std::size_t t = 0; t < positions.size(); ++t) {
          const float angle =
              static_cast<float>(positions[t]) * static_cast<float>(rotary.inv_freq()[i]);
          EXPECT_NEAR(table.cos[t * table.pairs() + i], std::cos(double{angle}), 0x1p-24);
          EXPECT_NEAR(table.sin[t * table.pairs() + i], std::sin(double{angle}), 0x1p-24);
        }
      }
    }
}

// A chunk of a prompt has the angles of its positions.
TEST(Rotary, UpdateComputesOnlyWhatChanged) {
  const Rotary rotary(8), other(8, 500000.0);
  RotaryTable table = rotary.table({3, 1, 4});
  table.cos[0] = 2.0f;  // no cosine: shows whether it was computed anew
  rotary.update({3, 1, 4}, {}, table);
  EXPECT_EQ(table.cos[0], 2.0f);
  rotary.update({3, 1, 5}, {}, table);
  EXPECT_EQ(table.cos, rotary.table({3, 1, 5}).cos);
  other.update({3, 1, 5}, {}, table);
  EXPECT_EQ(table.sin, other.table({3, 1, 5}).sin);
  Rotary(8, 500000.0, RotaryStyle::kInterleaved).update({3, 1, 5}, {}, table);
  EXPECT_EQ(table.config.style, RotaryStyle::kInterleaved);
}

TEST(Rotary, TablesOfAChunkAreRowsOfTheWhole) {
  const Rotary rotary(32);
  const RotaryTable whole = rotary.table(range(0, 100)), part = rotary.table(range(41, 60));
  for (std::int64_t n = 0; n < 19 * 16; ++n) {
    ASSERT_EQ(test::bits(part.cos[n]), test::bits(whole.cos[41 * 16 + n]));
    ASSERT_EQ(test::bits(part.sin[n]), test::bits(whole.sin[41 * 16 + n]));
  }
}

TEST(Rotary, HasTheBitsOfTheFormula) {
  for (const RotaryStyle style : kStyles)
    for (const auto& [dims, head_dim] :
         {std::pair{2, 2}, {2, 5}, {32, 32}, {34, 40}, {64, 64}, {66, 111}, {128, 128}}) {
      const Rotary rotary(dims, 10000.0, style);
      const Dims extents = {2, 21, 3, head_dim};
      const RotaryTable shared = rotary.table(range(5, 26)), each = rotary.table(range(9, 51));
      const Tensor expected = plain(shared, normal(extents, 1).view);
      for (const Isa isa : supported_isas())
        for (int n = 0; n < test::kLayouts; ++n) {
          const Layout layout = static_cast<Layout>(n);
          if (layout == Layout::kBroadcast) continue;  // other values
          SCOPED_TRACE(testing::Message() << name(isa) << ", " << name(layout) << ", R " << dims);
          const test::ForcedIsa forced(isa);
          const Tensor x = normal(extents, 1, 1.0f, layout);
          Tensor y(extents, layout), in_place = normal(extents, 1, 1.0f, layout);
          apply_rotary(Threads(1), shared, x.view, y.view);
          EXPECT_TRUE(same_bits(y.view, expected.view));
          apply_rotary(Threads(3), shared, in_place.view, in_place.view);
          EXPECT_TRUE(same_bits(in_place.view, expected.view));
          apply_rotary(Threads(8), each, x.view, y.view);
          EXPECT_TRUE(same_bits(y.view, plain(each, x.view).view));
        }
    }
}

// The two styles are one rotation of features in another order.
TEST(Rotary, StylesArePermutations) {
  const std::int64_t dims = 24;
  const Tensor x = normal({1, 9, 2, dims}, 2);
  Tensor shuffled(x.view.extents), half(x.view.extents), interleaved(x.view.extents);
  const auto shuffle = [&](const ConstTensor& from, const MutableTensor& to) {
    test::for_each_index({1, 9, 2, dims / 2}, [&](auto b, auto t, auto h, auto i) {
      to.at(b, t, h, 2 * i) = from.at(b, t, h, i);
      to.at(b, t, h, 2 * i + 1) = from.at(b, t, h, i + dims / 2);
    });
  };
  shuffle(x.view, shuffled.view);
  const auto turn = [&](RotaryStyle style, const Tensor& from, const Tensor& to) {
    apply_rotary(Threads(1), Rotary(dims, 1e4, style).table(range(3, 12)), from.view, to.view);
  };
  turn(RotaryStyle::kHalf, x, half);
  turn(RotaryStyle::kInterleaved, shuffled, interleaved);
  shuffle(half.view, shuffled.view);
  EXPECT_TRUE(same_bits(interleaved.view, shuffled.view));
}

// What positions are for: q.k depends on the distance alone.
TEST(Rotary, ScoresDependOnTheDistance) {
  for (const RotaryStyle style : kStyles) {
    const std::int64_t dims = 64;
    const Rotary rotary(dims, 10000.0, style);
    const Tensor q = normal({1, 1, 1, dims}, 3), k = normal({1, 1, 1, dims}, 4);
    const auto score = [&](std::int64_t query, std::int64_t key) {
      Tensor turned_q(q.view.extents), turned_k(k.view.extents);
      apply_rotary(Threads(1), rotary.table({query}), q.view, turned_q.view);
      apply_rotary(Threads(1), rotary.table({key}), k.view, turned_k.view);
      double sum = 0;
      for (std::int64_t e = 0; e < dims; ++e)
        sum += double{turned_q.view.at(0, 0, 0, e)} * turned_k.view.at(0, 0, 0, e);
      return sum;
    };
    for (const std::int64_t shift : {1, 10, 500})  // f32 angles near 500 are good to 2^-16
      EXPECT_NEAR(score(17 + shift, 5 + shift), score(17, 5), 64 * 0x1p-16) << shift;
    EXPECT_GT(std::abs(score(17, 6) - score(17, 5)), 0.01);
  }
}

// Rows of a padded batch, told their positions, are the rows of the sequence alone.
TEST(Rotary, ExplicitPositionsMakePaddingInvisible) {
  const std::int64_t width = 12, short_tokens = 7, long_tokens = 12;
  for (const RotaryStyle style : kStyles) {
    const Rotary rotary(6, 10000.0, style);
    const Tensor x = normal({2, width, 3, 8}, 5);
    Tensor y(x.view.extents);
    std::vector<std::int64_t> positions = range(-(width - short_tokens), short_tokens);
    for (const std::int64_t p : range(0, long_tokens)) positions.push_back(p);
    apply_rotary(Threads(2), rotary.table(positions), x.view, y.view);
    const auto alone = [&](std::int64_t b, std::int64_t first, std::int64_t count) {
      const ConstTensor rows = tokens(ConstTensor(sequence(x.view, b)), first, count);
      Tensor turned({1, count, 3, 8});
      apply_rotary(Threads(1), rotary.table(range(0, count)), rows, turned.view);
      return same_bits(tokens(sequence(y.view, b), first, count), turned.view);
    };
    EXPECT_TRUE(alone(0, width - short_tokens, short_tokens));
    EXPECT_TRUE(alone(1, 0, long_tokens));
  }
}

TEST(Rotary, ExactTablesAreGoodToAMillion) {
  for (const double theta : {10000.0, 500000.0}) {
    const std::int64_t dims = 128;
    const Rotary exact({.dims = dims, .theta = theta, .precision = RotaryPrecision::kF64}),
        trained(dims, theta);
    std::vector<std::int64_t> positions = {0, 1, -1, 4095, 131071, 1 << 20, 1000003};
    for (std::int64_t p = 999'000; p < 1'000'000; p += 37) positions.push_back(p);
    const RotaryTable table = exact.table(positions), f32 = trained.table(positions);
    double worst_f32 = 0;
    for (std::size_t t = 0; t < positions.size(); ++t)
      for (std::int64_t i = 0; i < table.pairs(); ++i) {
        const long double angle =
            positions[t] * std::pow(static_cast<long double>(theta), -2.0L * i / dims);
        const double bound = 0x1p-25 + std::abs(static_cast<double>(positions[t])) * 0x1p-51;
        const std::size_t at = t * table.pairs() + i;
        ASSERT_LE(std::abs(table.cos[at] - std::cos(angle)), bound) << positions[t] << ", " << i;
        ASSERT_LE(std::abs(table.sin[at] - std::sin(angle)), bound) << positions[t] << ", " << i;
        worst_f32 = std::max(worst_f32, std::abs(f32.cos[at] - double(std::cos(angle))));
      }
    EXPECT_GT(worst_f32, 0x1p-8) << "f32 angles are that good, too: the option is for nothing";
    EXPECT_LT(worst_f32, 0x1p-3);  // 2^20 2^-23
  }
}

TEST(Rotary, NamesWhatIsWrong) {
  EXPECT_EQ(error_of([] { Rotary(7); }), "Rotary.dims: expected a positive even number, got 7");
  EXPECT_EQ(error_of([] { Rotary(0); }), "Rotary.dims: expected a positive even number, got 0");
  EXPECT_EQ(error_of([] { Rotary(8, -1.0); }), "Rotary.theta: expected 1 to 1e30, got -1");
  const Threads one(1);
  const Tensor x({2, 3, 1, 8}), y({2, 3, 1, 7});
  const auto apply = [&](std::int64_t dims, std::int64_t tokens, const Tensor& out) {
    return error_of(
        [&] { apply_rotary(one, Rotary(dims).table(range(0, tokens)), x.view, out.view); });
  };
  EXPECT_EQ(apply(10, 3, x),
            "apply_rotary.x: expected a last extent of at least 10, got [2, 3, 1, 8]");
  EXPECT_EQ(apply(8, 4, x), "apply_rotary.table: expected 6 or 3 tokens, got 4");
  EXPECT_EQ(apply(8, 3, y), "apply_rotary.y: expected [2, 3, 1, 8], got [2, 3, 1, 7]");
  EXPECT_EQ(apply(8, 6, x), "no error");
}

}  // namespace
}  // namespace rapt
