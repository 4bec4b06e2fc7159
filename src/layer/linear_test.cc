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
using test::kEveryWeightType;
using test::Layout;
using test::multiply;
using test::normal;
using test::plain_int8;
using test::plain_linear;
using test::Rounded;
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
  for (const Shape& s : kShapes)
    for (const WeightType type : kEveryWeightType) {
      const Tensor x = normal({1, 1, s.rows, s.inputs}, 1),
                   w = normal({1, 1, s.outputs, s.inputs}, 2),
                   bias = normal({1, 1, 1, s.outputs}, 3);
      const Linear with(w.view, bias.view, type), without(w.view, {}, type);
      const Tensor expected = plain_linear(type, x.view, w.view, bias.view),
                   bare = plain_linear(type, x.view, w.view, {});
      for (Isa isa : supported_isas()) {
        SCOPED_TRACE(std::string(name(isa)) + " " + name(type) + " " + std::to_string(s.rows) +
                     " x " + std::to_string(s.outputs) + " x " + std::to_string(s.inputs));
        const test::ForcedIsa forced(isa);
        EXPECT_TRUE(same_bits(multiply(with, x.view).view, expected.view));
        EXPECT_TRUE(same_bits(multiply(without, x.view, 3).view, bare.view));
      }
    }
}

void expect_independence(WeightType type) {
  const Dims extents = {2, 3, 37, 530};
  const Tensor w = normal({1, 1, 70, 530}, 5);
  const Linear linear(w.view, {}, type);
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
  EXPECT_TRUE(
      same_bits(multiply(linear, x.view).view, plain_linear(type, x.view, w.view, {}).view));
}

TEST(Linear, DoesNotDependOnLayoutThreadsOrNeighbours) {
  for (const WeightType type : kEveryWeightType) {
    SCOPED_TRACE(name(type));
    expect_independence(type);
  }
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

/// The weights of `rows` as they are, or of their transpose.
template <class T>
void expect_numbers_as_they_are(const std::vector<T>& numbers, std::int64_t inputs) {
  const std::int64_t outputs = std::ssize(numbers) / inputs;
  const Tensor x = normal({1, 1, 7, inputs}, 20), y = normal({1, 1, 7, outputs}, 21);
  const TensorView<const T> w(numbers.data(), {1, 1, outputs, inputs});
  const TensorView<const T> transposed(numbers.data(), {1, 1, inputs, outputs}, {0, 0, 1, inputs});
  for (Isa isa : supported_isas()) {
    const test::ForcedIsa forced(isa);
    EXPECT_TRUE(same_bits(multiply(Linear(w), x.view).view, plain_linear(x.view, w, {}).view));
    EXPECT_TRUE(same_bits(multiply(Linear(transposed), y.view).view,
                          plain_linear(y.view, transposed, {}).view));
  }
}

// Every finite number of 16 bits, denormals among them, as a weight.
TEST(Linear, WidensSixteenBitsExactly) {
  std::vector<BF16> brain;
  std::vector<F16> half;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const BF16 b{static_cast<std::uint16_t>(bits)};
    const F16 h{static_cast<std::uint16_t>(bits)};
    brain.push_back(std::isfinite(to_float(b)) ? b : BF16{});
    half.push_back(std::isfinite(to_float(h)) ? h : F16{});
  }
  expect_numbers_as_they_are(brain, 1);  // sums would overflow
  expect_numbers_as_they_are(half, 256);
}

TEST(Linear, KeepsWeightsAsTheyAreGivenUnlessTold) {
  const Tensor w = normal({1, 1, 20, 30}, 22), bias = normal({1, 1, 1, 20}, 23);
  const Rounded<BF16> brain(w.view);
  const Rounded<F16> half(w.view);
  EXPECT_EQ(Linear(w.view).type(), WeightType::kF32);
  EXPECT_EQ(Linear(brain.view).type(), WeightType::kBF16);
  EXPECT_EQ(Linear(half.view).type(), WeightType::kF16);
  EXPECT_EQ(Linear(half.view, {}, WeightType::kInt8).type(), WeightType::kInt8);
  const Tensor x = normal({1, 1, 3, 30}, 24);
  EXPECT_TRUE(same_bits(multiply(Linear(brain.view, {}, WeightType::kF32), x.view).view,
                        plain_linear(x.view, brain.view, {}).view));
  EXPECT_TRUE(same_bits(multiply(Linear(half.view, bias.view, WeightType::kInt8), x.view).view,
                        plain_int8(x.view, half.view, bias.view).view));
  // Padded to 32 outputs.
  EXPECT_EQ(Linear(w.view).size_bytes(), 32u * 30 * 4);
  EXPECT_EQ(Linear(half.view, bias.view).size_bytes(), 32u * 30 * 2 + 32 * 4);
  EXPECT_EQ(Linear(w.view, bias.view, WeightType::kInt8).size_bytes(), 32u * 30 + 2 * 32 * 4);
}

/// Rows that int8 finds hard, 40 inputs each.
std::vector<std::vector<float>> hard_rows() {
  constexpr double kLargest = std::numeric_limits<float>::max();
  const auto row = [](auto&& f) {
    std::vector<float> row;
    for (int k = 0; k < 40; ++k) row.push_back(static_cast<float>(f(k)));
    return row;
  };
  return {row([](int) { return 0.0; }),
          row([](int) { return -0.0; }),
          row([](int) { return 0.7; }),
          row([](int k) { return k % 2 == 0 ? 127.0 : k - 20.5; }),  // scale 1: ties
          row([](int k) { return k == 3 ? -1e30 : 1.0; }),
          row([](int k) { return (k - 17) * 0x1p-149; }),     // less than 127 least denormals
          row([](int k) { return (k * 9 - 1) * 0x1p-149; }),  // a scale of 3 of them
          row([](int k) { return k * 0x1p-130; }),
          row([](int k) { return k == 0 ? 3e38 : k * 1e36; }),
          row([](int k) { return k % 2 == 0 ? kLargest : -kLargest; }),
          row([](int k) { return k == 0 ? -kLargest : k * 0x1p-149; })};
}

TEST(Linear, Int8KeepsEveryWeightWithinHalfItsScale) {
  std::vector<float> weights;
  const auto rows = hard_rows();
  for (const auto& row : rows) weights.insert(weights.end(), row.begin(), row.end());
  const std::int64_t outputs = std::ssize(rows), inputs = 40;
  const ConstTensor w(weights.data(), {1, 1, outputs, inputs});
  const Linear linear(w, {}, WeightType::kInt8);
  Tensor unit({1, 1, inputs, inputs});  // row k picks weight k
  for (std::int64_t k = 0; k < inputs; ++k) unit.view.at(0, 0, k, k) = 1;
  for (Isa isa : supported_isas()) {
    const test::ForcedIsa forced(isa);
    const Tensor y = multiply(linear, unit.view);
    EXPECT_TRUE(same_bits(y.view, plain_int8(unit.view, w, {}).view));
    for (std::int64_t n = 0; n < outputs; ++n) {
      const double scale = test::int8_row(w, n).scale;
      for (std::int64_t k = 0; k < inputs; ++k) {
        const double exact = w.at(0, 0, n, k), kept = y.view.at(0, 0, k, n);
        // y itself is rounded once.
        EXPECT_LE(std::abs(kept - exact), scale / 2 + std::max(0x1p-24 * std::abs(kept), 0x1p-150))
            << n << " " << k;
      }
    }
  }
}

TEST(Linear, Int8StaysWithinItsBound) {
  const std::int64_t rows = 20, outputs = 40, inputs = 1000;
  const Tensor x = normal({1, 1, rows, inputs}, 25), w = normal({1, 1, outputs, inputs}, 26);
  const Tensor y = multiply(Linear(w.view, {}, WeightType::kInt8), x.view);
  for (std::int64_t n = 0; n < outputs; ++n) {
    const test::Int8Row row = test::int8_row(w.view, n);
    for (std::int64_t t = 0; t < rows; ++t) {
      double exact = 0, magnitude = 0, moved = 0;
      for (std::int64_t k = 0; k < inputs; ++k) {
        const double input = x.view.at(0, 0, t, k);
        exact += input * w.view.at(0, 0, n, k);
        magnitude += std::abs(input * row.q[k] * row.scale);
        moved += std::abs(input) * row.scale / 2;
      }
      EXPECT_LE(std::abs(y.view.at(0, 0, t, n) - exact),
                moved + (inputs + 1) * 0x1p-24 * magnitude);
    }
  }
}

// The chain of x and q = 127 comes first, the scale of 1 / 127 then.
TEST(Linear, Int8OverflowsBeforeItIsScaled) {
  Tensor w({1, 1, 1, 1}), x({1, 1, 2, 1});
  w.view.at(0, 0, 0, 0) = 1.0f;
  x.view.at(0, 0, 0, 0) = 0x1p120f;
  x.view.at(0, 0, 1, 0) = 0x1p122f;
  const Tensor y = multiply(Linear(w.view, {}, WeightType::kInt8), x.view);
  EXPECT_FLOAT_EQ(y.view.at(0, 0, 0, 0), 0x1p120f);
  EXPECT_EQ(y.view.at(0, 0, 1, 0), std::numeric_limits<float>::infinity());
}

TEST(Linear, Int8RefusesWeightsThatAreNotFinite) {
  Tensor w = normal({1, 1, 40, 9}, 27);
  w.view.at(0, 0, 33, 4) = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(error_of([&] { Linear(w.view, {}, WeightType::kInt8); }),
            "Linear.weight, row 33: expected finite weights, as they become int8, got -inf");
  const BF16 nan[] = {{0x3F80}, {0x7FC0}};
  EXPECT_EQ(error_of([&] {
              Linear(TensorView<const BF16>(nan, {1, 1, 1, 2}), {}, WeightType::kInt8);
            }),
            "Linear.weight, row 0: expected finite weights, as they become int8, got nan");
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
  for (const WeightType type : kEveryWeightType) {
    if (type == WeightType::kInt8) continue;  // a slice alone would have another scale
    const Linear linear(w.view, bias.view, type);
    for (std::int64_t first : {0, 7, 60}) {
      if (type == WeightType::kNativeBF16 && first == 7) continue;  // it would cut pairs
      Tensor y({2, 3, 5, 50});
      Scratch scratch;
      linear.partial(Threads(2), first, x.view, y.view, scratch);
      const ConstTensor slice(&w.view.at(0, 0, 0, first), {1, 1, 50, 30}, w.view.strides);
      EXPECT_TRUE(same_bits(y.view, plain_linear(type, x.view, slice, {}).view));
    }
  }
}

TEST(Linear, NativeStaysWithinItsBound) {
  for (const std::int64_t inputs : {1, 65, 4096}) {
    const Tensor x = normal({1, 1, 7, inputs}, 14), w = normal({1, 1, 20, inputs}, 15);
    const Rounded<BF16> kept(w.view);
    const Tensor y = multiply(Linear(w.view, {}, WeightType::kNativeBF16), x.view);
    for (std::int64_t t = 0; t < 7; ++t)
      for (std::int64_t n = 0; n < 20; ++n) {
        double sum = 0, magnitude = 0;
        for (std::int64_t k = 0; k < inputs; ++k) {
          const double term =
              static_cast<double>(x.view.at(0, 0, t, k)) * to_float(kept.view.at(0, 0, n, k));
          sum += term;
          magnitude += std::abs(term);
        }
        const double bound = (inputs + 1) * 0x1p-24 + 0x1p-8;
        EXPECT_LE(std::abs(y.view.at(0, 0, t, n) - sum), bound * magnitude);
      }
  }
}

// What is denormal after rounding is lost, of x, of the weights and of their products.
TEST(Linear, NativeFlushesDenormals) {
  const float numbers[] = {1e-40f, -1e-40f, 0x1p-126f, -0x1p-126f, 1e-30f, 0x1p-64f, 1.0f, -3.0f};
  std::vector<float> pairs;
  for (const float a : numbers)
    for (const float b : numbers) pairs.insert(pairs.end(), {a, b});
  const ConstTensor all(pairs.data(), {1, 1, std::ssize(pairs) / 2, 2});
  for (const Isa isa : supported_isas()) {
    const test::ForcedIsa forced(isa);
    EXPECT_TRUE(same_bits(multiply(Linear(all, {}, WeightType::kNativeBF16), all).view,
                          test::plain_native(all, all, {}).view))
        << name(isa);
  }
}

TEST(Linear, NativePartsAreWholePairs) {
  const Linear linear(normal({1, 1, 5, 9}, 11).view, {}, WeightType::kNativeBF16);
  EXPECT_EQ(linear.size_bytes(), 16u * 10 * 2);
  const auto error_of_part = [&](std::int64_t first, std::int64_t inputs) {
    Tensor x({1, 1, 1, inputs}), y({1, 1, 1, 5});
    Scratch scratch;
    return error_of([&] { linear.partial(Threads(1), first, x.view, y.view, scratch); });
  };
  EXPECT_EQ(error_of_part(2, 4), "no error");
  EXPECT_EQ(error_of_part(4, 5), "no error");
  EXPECT_EQ(error_of_part(1, 4),
            "Linear.partial: expected whole pairs of inputs in native bf16, got 4 from 1");
  EXPECT_EQ(error_of_part(2, 3),
            "Linear.partial: expected whole pairs of inputs in native bf16, got 3 from 2");
}

TEST(Linear, PartialOfInt8HasTheScaleOfTheWholeRow) {
  const Tensor w = normal({1, 1, 50, 90}, 11);
  const Linear linear(w.view, {}, WeightType::kInt8);
  Tensor x = normal({1, 1, 5, 90}, 13), y({1, 1, 5, 50});
  for (std::int64_t t = 0; t < 5; ++t)
    for (std::int64_t k = 0; k < 90; ++k)
      if (k < 7 || k >= 37) x.view.at(0, 0, t, k) = 0;
  const ConstTensor slice(&x.view.at(0, 0, 0, 7), {1, 1, 5, 30}, x.view.strides);
  Scratch scratch;
  linear.partial(Threads(2), 7, slice, y.view, scratch);
  EXPECT_TRUE(same_bits(y.view, multiply(linear, x.view).view));
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
