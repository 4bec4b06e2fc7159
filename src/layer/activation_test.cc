// Activations: the formula in f64 within a bound, the same bits for every layout, number of threads
// and instruction set; errors named. (Their errors over all of f32: kernels/math.)

#include "rapt/activation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "util.h"

namespace rapt {
namespace {

using test::error_of;
using test::Layout;
using test::normal;
using test::same_bits;
using test::Tensor;

constexpr Activation kAll[] = {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh,
                               Activation::kRelu};

double exact(Activation f, double z) {
  if (f == Activation::kRelu) return std::max(z, 0.0);
  if (f == Activation::kSilu) return z / (1 + std::exp(-z));
  if (f == Activation::kGelu) return z * std::erfc(-z / std::numbers::sqrt2) / 2;
  return z * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (z + 0.044715 * z * z * z))) / 2;
}

TEST(Activation, IsTheFormulaForEveryLayoutAndInstructionSet) {
  const Dims extents = {2, 3, 30, 53};
  const Tensor x = normal(extents, 7, 1.5f), up = normal(extents, 8);
  for (const Activation f : kAll) {
    Tensor plain(extents), gated(extents);
    activate(Threads(1), f, x.view, plain.view);
    activate_gated(Threads(1), f, x.view, up.view, gated.view);
    test::for_each_index(extents, [&](auto a, auto b, auto t, auto e) {
      const double y = exact(f, x.view.at(a, b, t, e)), u = up.view.at(a, b, t, e);
      EXPECT_LE(std::abs(plain.view.at(a, b, t, e) - y), 6 * 0x1p-23 * std::abs(y) + 1e-12);
      EXPECT_LE(std::abs(gated.view.at(a, b, t, e) - y * u), 7 * 0x1p-23 * std::abs(y * u) + 1e-12);
    });
    for (const Isa isa : supported_isas())
      for (int n = 0; n < test::kLayouts; ++n) {
        const Layout layout = static_cast<Layout>(n);
        if (layout == Layout::kBroadcast) continue;
        const test::ForcedIsa forced(isa);
        Tensor in_place = normal(extents, 7, 1.5f, layout);
        activate(Threads(3), f, in_place.view, in_place.view);
        EXPECT_TRUE(same_bits(in_place.view, plain.view)) << name(isa) << ", " << name(layout);
        in_place = normal(extents, 7, 1.5f, layout);
        activate_gated(Threads(3), f, in_place.view, normal(extents, 8, 1.0f, layout).view,
                       in_place.view);
        EXPECT_TRUE(same_bits(in_place.view, gated.view)) << name(isa) << ", " << name(layout);
      }
  }
}

TEST(Activation, NamesWhatIsWrong) {
  const Tensor x({1, 2, 3, 8}), y({1, 2, 3, 7});
  const Threads one(1);
  const Activation f = Activation::kGelu;
  const std::string wrong = ": expected [1, 2, 3, 8], got [1, 2, 3, 7]";
  EXPECT_EQ(error_of([&] { activate(one, f, x.view, y.view); }), "activate.out" + wrong);
  EXPECT_EQ(error_of([&] { activate_gated(one, f, x.view, y.view, x.view); }),
            "activate_gated.up" + wrong);
  EXPECT_EQ(error_of([&] { activate_gated(one, f, x.view, x.view, y.view); }),
            "activate_gated.out" + wrong);
  for (int axis = 0; axis < 4; ++axis) {
    MutableTensor negative = x.view;
    negative.extents[axis] = -1;
    const std::string expected = ": expected no negative extent";
    EXPECT_EQ(error_of([&] { activate(one, f, negative, negative); }).find("activate.x" + expected),
              0u);
    EXPECT_EQ(error_of([&] {
                activate_gated(one, f, negative, negative, negative);
              }).find("activate_gated.gate" + expected),
              0u);
  }
}

}  // namespace
}  // namespace rapt
