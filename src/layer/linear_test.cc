// Linear maps: the bits of the plain chain for every shape, layout, number of threads and
// instruction set; f64 within the bound; errors named. Adding the bias first, a sum in two halves,
// or a piece of the depth that starts a chain anew must fail here.

#include "rapt/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "plain_linear.h"

namespace rapt {
namespace {

using test::error_of;
using test::Layout;
using test::multiply;
using test::normal;
using test::plain_linear;
using test::same_bits;
using test::Tensor;

struct Shape {
  std::int64_t rows, outputs, inputs;
};

// Around the register tiles (4 or 6 rows; 16, 32, 48 or 64 outputs), the blocks (96 rows, 24
// groups), the piece of 512 steps, and the strips of rows that share the fetching of the next one.
const Shape kShapes[] = {
    {1, 1, 1},      {1, 16, 256},   {1, 1000, 77},  {2, 17, 31},   {3, 113, 513}, {4, 80, 1024},
    {5, 48, 129},   {6, 33, 1300},  {7, 16, 257},   {8, 64, 512},  {9, 130, 64},  {13, 100, 600},
    {48, 49, 1025}, {50, 150, 511}, {96, 400, 540}, {97, 385, 70}, {200, 31, 255}};

TEST(Linear, HasTheBitsOfThePlainChain) {
  for (const Shape& s : kShapes) {
    const Tensor x = normal({1, 1, s.rows, s.inputs}, 1),
                 w = normal({1, 1, s.outputs, s.inputs}, 2), bias = normal({1, 1, 1, s.outputs}, 3);
    const Linear with(w.view, bias.view), without(w.view);
    const Tensor expected = plain_linear(x.view, w.view, bias.view),
                 bare = plain_linear(x.view, w.view, {});
    for (Isa isa : supported_isas()) {
      SCOPED_TRACE(std::string(name(isa)) + " " + std::to_string(s.rows) + " x " +
                   std::to_string(s.outputs) + " x " + std::to_string(s.inputs));
      const test::ForcedIsa forced(isa);
      EXPECT_TRUE(same_bits(multiply(with, x.view).view, expected.view));
      EXPECT_TRUE(same_bits(multiply(without, x.view, 3).view, bare.view));
    }
  }
}

TEST(Linear, DoesNotDependOnLayoutThreadsOrNeighbours) {
  const Dims extents = {2, 3, 37, 530};
  const Tensor w = normal({1, 1, 70, 530}, 5);
  const Linear linear(w.view);
  const Tensor whole = multiply(linear, normal(extents, 4).view);
  for (int n = 0; n < test::kLayouts; ++n) {
    const Layout layout = static_cast<Layout>(n);
    if (layout == Layout::kBroadcast) continue;
    SCOPED_TRACE(name(layout));
    const Tensor x = normal(extents, 4, 1.0f, layout);
    for (int threads : {1, 2, 3, 8})
      EXPECT_TRUE(same_bits(multiply(linear, x.view, threads, layout).view, whole.view));
    const Tensor one = multiply(linear, test::sequence(x.view, 1), 2);
    EXPECT_TRUE(same_bits(one.view, test::sequence(whole.view, 1)));
  }
  const Tensor x = normal(extents, 4, 1.0f, Layout::kBroadcast);  // one row for all of axes 0 and 2
  EXPECT_TRUE(same_bits(multiply(linear, x.view).view, plain_linear(x.view, w.view, {}).view));
}

TEST(Linear, TakesWeightsOfAnyStrides) {
  const Dims extents = {1, 1, 35, 50};
  const Tensor x = normal({1, 1, 9, 50}, 6);
  const Tensor expected = multiply(Linear(normal(extents, 7).view), x.view);
  for (Layout layout : {Layout::kFeatureMajor, Layout::kReversed, Layout::kUnaligned}) {
    SCOPED_TRACE(name(layout));
    EXPECT_TRUE(same_bits(multiply(Linear(normal(extents, 7, 1.0f, layout).view), x.view).view,
                          expected.view));
  }
}

TEST(Linear, StaysWithinItsBound) {
  const std::int64_t rows = 20, outputs = 40, inputs = 4000;
  const Tensor x = normal({1, 1, rows, inputs}, 8), w = normal({1, 1, outputs, inputs}, 9),
               bias = normal({1, 1, 1, outputs}, 10);
  const Tensor y = multiply(Linear(w.view, bias.view), x.view);
  for (std::int64_t t = 0; t < rows; ++t)
    for (std::int64_t n = 0; n < outputs; ++n) {
      double sum = bias.view.at(0, 0, 0, n), magnitude = std::abs(sum);
      for (std::int64_t k = 0; k < inputs; ++k) {
        const double term = static_cast<double>(x.view.at(0, 0, t, k)) * w.view.at(0, 0, n, k);
        sum += term;
        magnitude += std::abs(term);
      }
      EXPECT_LE(std::abs(y.view.at(0, 0, t, n) - sum), (inputs + 1) * 0x1p-24 * magnitude);
    }
}

TEST(Linear, PartialIsASliceOfTheInputs) {
  const Tensor w = normal({1, 1, 50, 90}, 11), bias = normal({1, 1, 1, 50}, 12),
               x = normal({2, 3, 5, 30}, 13);
  const Linear linear(w.view, bias.view);
  for (std::int64_t first : {0, 7, 60}) {
    Tensor y({2, 3, 5, 50});
    Scratch scratch;
    linear.partial(Threads(2), first, x.view, y.view, scratch);
    const ConstTensor slice(&w.view.at(0, 0, 0, first), {1, 1, 50, 30}, w.view.strides);
    EXPECT_TRUE(same_bits(y.view, plain_linear(x.view, slice, {}).view));
  }
}

TEST(Linear, KeepsValuesOfARowToItself) {
  const std::int64_t rows = 14, inputs = 300;
  Tensor x = normal({1, 1, rows, inputs}, 14);
  const Tensor w = normal({1, 1, 33, inputs}, 15);
  const Linear linear(w.view);
  const Tensor before = multiply(linear, x.view);
  x.view.at(0, 0, 4, 299) = std::numeric_limits<float>::quiet_NaN();
  x.view.at(0, 0, 13, 0) = std::numeric_limits<float>::infinity();
  const Tensor after = multiply(linear, x.view);
  for (std::int64_t t = 0; t < rows; ++t)
    for (std::int64_t n = 0; n < 33; ++n) {
      if (t == 4)
        EXPECT_TRUE(std::isnan(after.view.at(0, 0, t, n)));
      else if (t == 13)
        EXPECT_TRUE(std::isinf(after.view.at(0, 0, t, n)));
      else
        EXPECT_EQ(test::bits(after.view.at(0, 0, t, n)), test::bits(before.view.at(0, 0, t, n)));
    }
}

TEST(Linear, AcceptsNoRows) {
  const Tensor w = normal({1, 1, 4, 8}, 16);
  Tensor x({1, 2, 0, 8}), y({1, 2, 0, 4});
  Scratch scratch;
  Linear(w.view)(Threads(2), x.view, y.view, scratch);
}

TEST(Linear, NamesWhatIsWrong) {
  const Tensor w = normal({1, 1, 4, 8}, 17), bias = normal({1, 1, 1, 5}, 18),
               x = normal({1, 1, 3, 7}, 19);
  Tensor y({1, 1, 3, 4});
  Scratch scratch;
  const Linear linear(w.view);
  EXPECT_EQ(error_of([&] {
              Linear(ConstTensor(w.view.data, {2, 1, 2, 8}));
            }),
            "Linear.weight: expected [1, 1, outputs, inputs], none 0, got [2, 1, 2, 8]");
  EXPECT_EQ(error_of([&] { Linear(w.view, bias.view); }),
            "Linear.bias: expected [1, 1, 1, 4], got [1, 1, 1, 5]");
  EXPECT_EQ(error_of([&] { linear(Threads(1), x.view, y.view, scratch); }),
            "Linear.x: expected [1, 1, 3, 8], got [1, 1, 3, 7]");
  EXPECT_EQ(error_of([&] {
              linear(Threads(1), ConstTensor(w.view.data, {1, 1, 2, 8}), y.view, scratch);
            }),
            "Linear.y: expected [1, 1, 2, 4], got [1, 1, 3, 4]");
  EXPECT_EQ(error_of([&] { linear.partial(Threads(1), 2, x.view, y.view, scratch); }),
            "Linear.partial: expected inputs within [0, 8), got 7 from 2");
  constexpr std::int64_t kLast = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(error_of([&] { linear.partial(Threads(1), kLast, x.view, y.view, scratch); }),
            "Linear.partial: expected inputs within [0, 8), got 7 from 9223372036854775807");
  EXPECT_EQ(error_of([&] {
              linear(Threads(1), ConstTensor(w.view.data, {1, 1, -2, 8}),
                     MutableTensor(y.view.data, {1, 1, -2, 4}), scratch);
            }),
            "Linear.x: expected no negative extent, got [1, 1, -2, 8]");
  constexpr std::int64_t kHuge = std::int64_t{1} << 40;
  EXPECT_EQ(error_of([&] {
              Linear(ConstTensor(w.view.data, {1, 1, kHuge, kHuge}, {0, 0, 0, 0}));
            }),
            "Linear.weight: expected at most 2^40 elements, got [1, 1, 1099511627776, "
            "1099511627776]");
}

}  // namespace
}  // namespace rapt
