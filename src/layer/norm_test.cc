// Norms and the gated unit: the bits of the contract in plain loops for every width, layout, number
// of threads and instruction set; f64 within a bound; errors named. A sum of another order, a
// variance without its mean, or an epsilon outside the root must fail here.

#include "rapt/norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "util.h"

namespace rapt {
namespace {

using test::error_of;
using test::Layout;
using test::normal;
using test::same_bits;
using test::Tensor;

constexpr float kEps = 1e-5f;
const std::int64_t kWidths[] = {1, 2, 15, 16, 17, 31, 100, 1000};

/// The sum that the contract describes: lane e mod 16, then halves.
template <class Chain>
float lane_sum(std::int64_t width, Chain&& chain) {
  float lane[16] = {};
  for (std::int64_t e = 0; e < width; ++e) lane[e % 16] = chain(e, lane[e % 16]);
  for (int half = 8; half > 0; half /= 2)
    for (int n = 0; n < half; ++n) lane[n] += lane[n + half];
  return lane[0];
}

Tensor plain_rms_norm(const ConstTensor& x, const ConstTensor& w) {
  Tensor y(x.extents);
  const std::int64_t width = x.extents[3];
  test::for_each_index(
      {x.extents[0], x.extents[1], x.extents[2], 1}, [&](auto a, auto b, auto t, auto) {
        const float squares = lane_sum(width, [&](auto e, float sum) {
          return std::fma(x.at(a, b, t, e), x.at(a, b, t, e), sum);
        });
        const float r = 1.0f / std::sqrt(squares / static_cast<float>(width) + kEps);
        for (std::int64_t e = 0; e < width; ++e)
          y.view.at(a, b, t, e) = x.at(a, b, t, e) * r * w.at(0, 0, 0, e);
      });
  return y;
}

Tensor plain_layer_norm(const ConstTensor& x, const ConstTensor& w, const ConstTensor& bias) {
  Tensor y(x.extents);
  const std::int64_t width = x.extents[3];
  const auto n = static_cast<float>(width);
  test::for_each_index(
      {x.extents[0], x.extents[1], x.extents[2], 1}, [&](auto a, auto b, auto t, auto) {
        const float mean =
            lane_sum(width, [&](auto e, float sum) { return sum + x.at(a, b, t, e); }) / n;
        const float squares = lane_sum(width, [&](auto e, float sum) {
          const float deviation = x.at(a, b, t, e) - mean;
          return std::fma(deviation, deviation, sum);
        });
        const float r = 1.0f / std::sqrt(squares / n + kEps);
        for (std::int64_t e = 0; e < width; ++e)
          y.view.at(a, b, t, e) = std::fma((x.at(a, b, t, e) - mean) * r, w.at(0, 0, 0, e),
                                           bias.data == nullptr ? 0.0f : bias.at(0, 0, 0, e));
      });
  return y;
}

/// One operation under test, from x to y.
struct Operation {
  const char* name;
  std::function<void(const Threads&, const ConstTensor& x, const MutableTensor& y)> run;
  std::function<Tensor(const ConstTensor& x)> plain;
};

/// The norms with weights of `width` features.
struct Norms {
  Tensor weight, bias;

  explicit Norms(std::int64_t width)
      : weight(normal({1, 1, 1, width}, 1, 1.0f, Layout::kUnaligned)),
        bias(normal({1, 1, 1, width}, 2)) {}

  std::vector<Operation> operations() const {
    const ConstTensor w = weight.view, b = bias.view;
    return {
        {"rms", [=](auto& t, auto& x, auto& y) { rms_norm(t, x, w, kEps, y); },
         [=](auto& x) { return plain_rms_norm(x, w); }},
        {"layer", [=](auto& t, auto& x, auto& y) { layer_norm(t, x, w, b, kEps, y); },
         [=](auto& x) { return plain_layer_norm(x, w, b); }},
        {"layer without bias", [=](auto& t, auto& x, auto& y) { layer_norm(t, x, w, {}, kEps, y); },
         [=](auto& x) { return plain_layer_norm(x, w, {}); }}};
  }
};

TEST(Norm, HasTheBitsOfThePlainLoops) {
  for (const std::int64_t width : kWidths) {
    const Norms norms(width);
    Tensor x = normal({2, 3, 5, width}, 3, 2.0f);
    for (std::int64_t e = 0; e < width; ++e) x.view.at(0, 1, 2, e) += 100.0f;  // far from its mean
    for (const Operation& op : norms.operations())
      for (const Isa isa : supported_isas()) {
        const test::ForcedIsa forced(isa);
        Tensor y(x.view.extents);
        op.run(Threads(1), x.view, y.view);
        EXPECT_TRUE(same_bits(y.view, op.plain(x.view).view))
            << op.name << ", " << name(isa) << ", width " << width;
      }
  }
}

TEST(Norm, DoesNotDependOnLayoutThreadsOrNeighbours) {
  const std::int64_t width = 77;
  const Dims extents = {2, 3, 200, width};
  const Norms norms(width);
  for (const Operation& op : norms.operations()) {
    const Tensor expected = op.plain(normal(extents, 4).view);
    for (int n = 0; n < test::kLayouts; ++n) {
      const Layout layout = static_cast<Layout>(n);
      if (layout == Layout::kBroadcast) continue;  // other values
      SCOPED_TRACE(testing::Message() << op.name << ", " << name(layout));
      for (const int threads : {1, 2, 3, 8}) {
        Tensor x = normal(extents, 4, 1.0f, layout), y(extents, layout);
        op.run(Threads(threads), x.view, y.view);
        EXPECT_TRUE(same_bits(y.view, expected.view)) << threads;
        op.run(Threads(threads), x.view, x.view);
        EXPECT_TRUE(same_bits(x.view, expected.view)) << threads << ", in place";
      }
      const Tensor x = normal(extents, 4, 1.0f, layout);
      Tensor one({1, 3, 200, width});
      op.run(Threads(1), test::sequence(ConstTensor(x.view), 1), one.view);
      EXPECT_TRUE(same_bits(one.view, test::sequence(ConstTensor(expected.view), 1)));
    }
  }
}

// First-order bounds: a sum of N squares is good to (N / 16 + 5) u, the rest to a few u.
TEST(Norm, StaysNearF64) {
  const std::int64_t width = 1000;
  const double relative = (1000.0 / 16 + 12) * 0x1p-24;
  const Norms norms(width);
  const Tensor x = normal({1, 1, 20, width}, 5);
  Tensor rms(x.view.extents), layer(x.view.extents);
  rms_norm(Threads(1), x.view, norms.weight.view, kEps, rms.view);
  layer_norm(Threads(1), x.view, norms.weight.view, norms.bias.view, kEps, layer.view);
  for (std::int64_t t = 0; t < 20; ++t) {
    double mean = 0, square = 0, variance = 0;
    for (std::int64_t e = 0; e < width; ++e) mean += x.view.at(0, 0, t, e) / double(width);
    for (std::int64_t e = 0; e < width; ++e) {
      square += std::pow(x.view.at(0, 0, t, e), 2) / double(width);
      variance += std::pow(x.view.at(0, 0, t, e) - mean, 2) / double(width);
    }
    for (std::int64_t e = 0; e < width; ++e) {
      const double w = norms.weight.view.at(0, 0, 0, e), value = x.view.at(0, 0, t, e);
      const double exact = value / std::sqrt(square + kEps) * w;
      EXPECT_LE(std::abs(rms.view.at(0, 0, t, e) - exact), relative * std::abs(exact));
      const double scaled = (value - mean) / std::sqrt(variance + kEps) * w;
      const double bias = norms.bias.view.at(0, 0, 0, e);
      EXPECT_LE(std::abs(layer.view.at(0, 0, t, e) - (scaled + bias)),
                relative * (std::abs(scaled) + std::abs(w) + std::abs(bias)));
    }
  }
}

TEST(Norm, KeepsValuesOfARowToItself) {
  const std::int64_t width = 40;
  const Norms norms(width);
  for (const Operation& op : norms.operations()) {
    Tensor x = normal({1, 1, 9, width}, 6), before(x.view.extents), after(x.view.extents);
    op.run(Threads(1), x.view, before.view);
    x.view.at(0, 0, 4, 39) = -std::numeric_limits<float>::quiet_NaN();
    op.run(Threads(1), x.view, after.view);
    test::for_each_index(x.view.extents, [&](auto, auto, auto t, auto e) {
      EXPECT_EQ(test::bits(after.view.at(0, 0, t, e)),
                t == 4 ? test::kNanBits : test::bits(before.view.at(0, 0, t, e)));
    });
  }
}

TEST(Norm, NamesWhatIsWrong) {
  const Tensor x({1, 2, 3, 8}), y({1, 2, 3, 7}), w({1, 1, 1, 8}), wrong({1, 1, 8, 1});
  const Threads one(1);
  const auto expect = [](const std::string& message, const std::function<void()>& f) {
    EXPECT_EQ(error_of(f), message);
  };
  const std::string of_y = ".y: expected [1, 2, 3, 8], got [1, 2, 3, 7]";
  const std::string of_weight = ".weight: expected [1, 1, 1, 8], got [1, 1, 8, 1]";
  expect("rms_norm" + of_y, [&] { rms_norm(one, x.view, w.view, kEps, y.view); });
  expect("rms_norm" + of_weight, [&] { rms_norm(one, x.view, wrong.view, kEps, x.view); });
  expect("layer_norm" + of_y, [&] { layer_norm(one, x.view, w.view, {}, kEps, y.view); });
  expect("layer_norm" + of_weight, [&] { layer_norm(one, x.view, wrong.view, {}, kEps, x.view); });
  expect("layer_norm.bias: expected [1, 1, 1, 8], got [1, 1, 8, 1]",
         [&] { layer_norm(one, x.view, w.view, wrong.view, kEps, x.view); });
  for (int axis = 0; axis < 4; ++axis) {
    MutableTensor negative = x.view;
    negative.extents[axis] = -1;
    const Tensor weight({1, 1, 1, 8});
    ConstTensor of_row = weight.view;
    of_row.extents[3] = negative.extents[3];
    const auto refused = [&](const std::string& where, const std::function<void()>& f) {
      EXPECT_EQ(error_of(f).find(where + ": expected no negative extent"), 0u) << where << axis;
    };
    refused("rms_norm.x", [&] { rms_norm(one, negative, of_row, kEps, negative); });
    refused("layer_norm.x", [&] { layer_norm(one, negative, of_row, {}, kEps, negative); });
  }
}

}  // namespace
}  // namespace rapt
