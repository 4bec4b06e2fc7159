// Kinds of scaled rotary positions: f64 tables by the formulas of f32, what sequences' lengths
// change and what not, errors named. The bits of f32 are in tests/golden/rotary_test.cc.

#include "rapt/rotary_scaling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "rapt/rotary.h"
#include "util.h"

namespace rapt {
namespace {

using test::error_of;

constexpr std::int64_t kDims = 32, kContext = 512;

std::vector<double> ramp(double first, double last) {
  std::vector<double> values;
  for (int i = 0; i < kDims / 2; ++i) values.push_back(first + (last - first) * i / (kDims / 2));
  return values;
}

LongRopeScaling longrope() { return {ramp(1, 2), ramp(1.5, 30), 8, kContext, std::nullopt}; }

std::vector<RotaryScaling> kinds() {
  return {std::monostate{},
          LinearScaling{4},
          DynamicNtkScaling{4, kContext},
          YarnScaling{.factor = 4, .original_context = kContext},
          YarnScaling{.factor = 4, .original_context = kContext, .truncate = false},
          Llama3Scaling{8, 1, 4, kContext},
          longrope()};
}

Rotary rotary(const RotaryScaling& scaling, RotaryPrecision precision = RotaryPrecision::kF32) {
  return Rotary({.dims = kDims, .scaling = scaling, .precision = precision});
}

double plain(std::int64_t i) { return std::pow(10000.0, -2.0 * static_cast<double>(i) / kDims); }

TEST(RotaryScaling, NamesAreThoseOfConfigFiles) {
  std::vector<std::string> names;
  for (const RotaryScaling& scaling : kinds()) names.emplace_back(name(scaling));
  EXPECT_EQ(names, (std::vector<std::string>{"default", "linear", "dynamic", "yarn", "yarn",
                                             "llama3", "longrope"}));
}

TEST(RotaryScaling, F64HasTheFormulasOfF32) {
  for (const RotaryScaling& scaling : kinds())
    for (const std::int64_t length : {std::int64_t{0}, 4 * kContext}) {
      SCOPED_TRACE(testing::Message() << name(scaling) << " " << length);
      const auto f32 = rotary(scaling).inv_freq(length),
                 f64 = rotary(scaling, RotaryPrecision::kF64).inv_freq(length);
      ASSERT_EQ(f32.size(), f64.size());
      int rounded = 0;
      for (std::size_t i = 0; i < f32.size(); ++i) {
        EXPECT_NEAR(f32[i], f64[i], 2e-6 * f64[i]);
        EXPECT_EQ(f32[i], static_cast<double>(static_cast<float>(f32[i])));
        rounded += f64[i] != static_cast<double>(static_cast<float>(f64[i]));
      }
      EXPECT_GT(rounded, 8) << "f64 frequencies are f32 numbers";
    }
}

TEST(RotaryScaling, FormulasAreThoseOfThePapers) {
  const auto f = [](const RotaryScaling& scaling, std::int64_t length) {
    return rotary(scaling, RotaryPrecision::kF64).inv_freq(length);
  };
  const auto near = [](double got, double want) { EXPECT_NEAR(got, want, 1e-13 * want); };
  const double theta = 10000.0 * std::pow(4.0 * 1024 / kContext - 3, 32.0 / 30);
  for (std::int64_t i = 0; i < kDims / 2; ++i) {
    near(f(LinearScaling{4}, 0)[i], plain(i) / 4);
    near(f(DynamicNtkScaling{4, kContext}, 1024)[i],
         std::pow(theta, -2.0 * static_cast<double>(i) / kDims));
    near(f(longrope(), kContext)[i], plain(i) / ramp(1, 2)[i]);
    near(f(longrope(), kContext + 1)[i], plain(i) / ramp(1.5, 30)[i]);
    // The pair turns so often in the context: many times it stays, seldom it is stretched.
    const double turns = kContext * plain(i) / (2 * std::numbers::pi);
    const double llama3 = f(Llama3Scaling{8, 1, 4, kContext}, 0)[i];
    const double smooth = std::clamp((turns - 1) / 3, 0.0, 1.0);
    near(llama3, plain(i) * (smooth + (1 - smooth) / 8));
    const double yarn =
        f(YarnScaling{.factor = 8, .original_context = kContext, .truncate = false}, 0)[i];
    if (turns > 32) near(yarn, plain(i));
    if (turns < 1) near(yarn, plain(i) / 8);
    EXPECT_GE(yarn, plain(i) / 8 * (1 - 1e-13));
    EXPECT_LE(yarn, plain(i) * (1 + 1e-13));
  }
}

TEST(RotaryScaling, AttentionFactorsScaleCosAndSin) {
  const auto factor = [](const RotaryScaling& scaling) {
    const RotaryTable table = rotary(scaling).table({0, 5}), plain = rotary({}).table({0, 5});
    EXPECT_NEAR(std::hypot(table.cos[16], table.sin[16]), table.cos[0], 1e-6);
    EXPECT_EQ(plain.cos[0], 1.0f);
    return double{table.cos[0]};
  };
  YarnScaling yarn = {.factor = 4, .original_context = kContext};
  EXPECT_NEAR(factor(yarn), 0.1 * std::log(4) + 1, 1e-7);
  yarn.mscale = 0.5;
  EXPECT_NEAR(factor(yarn), 0.1 * std::log(4) + 1, 1e-7);  // both or none
  yarn.mscale_all_dim = 1;
  EXPECT_NEAR(factor(yarn), (0.05 * std::log(4) + 1) / (0.1 * std::log(4) + 1), 1e-7);
  yarn.attention_factor = 0.75;
  EXPECT_EQ(factor(yarn), 0.75);
  EXPECT_NEAR(factor(longrope()), std::sqrt(1 + std::log(8) / std::log(kContext)), 1e-7);
  EXPECT_EQ(factor(Llama3Scaling{8, 1, 4, kContext}), 1);
}

// Only dynamic NTK and LongRoPE look at it, and only beyond the original context.
TEST(RotaryScaling, LengthsChangeTwoKinds) {
  for (const RotaryScaling& scaling : kinds()) {
    SCOPED_TRACE(name(scaling));
    const Rotary made = rotary(scaling);
    EXPECT_EQ(made.inv_freq(kContext), made.inv_freq());
    const bool looks = std::string(name(scaling)) == "dynamic" || scaling.index() == 5;
    EXPECT_EQ(made.inv_freq(kContext + 1) != made.inv_freq(), looks);
  }
}

// A table is a function of its arguments: no neighbour and no earlier table shows.
TEST(RotaryScaling, EachSequenceHasTheTableOfItsLength) {
  for (const RotaryScaling& scaling : kinds()) {
    const Rotary made = rotary(scaling);
    RotaryTable table = made.table({7, 8, 9}, {4 * kContext});
    made.update({1, 2, 1, 2, 1, 2}, {kContext, 9 * kContext, 2 * kContext}, table);
    std::vector<float> cos, sin;
    for (const std::int64_t length : {kContext, 9 * kContext, 2 * kContext}) {
      const RotaryTable alone = made.table({1, 2}, {length});
      cos.insert(cos.end(), alone.cos.begin(), alone.cos.end());
      sin.insert(sin.end(), alone.sin.begin(), alone.sin.end());
    }
    EXPECT_EQ(table.cos, cos) << name(scaling);
    EXPECT_EQ(table.sin, sin) << name(scaling);
    made.update({1, 2}, {kContext}, table);
    EXPECT_EQ(table.cos, made.table({1, 2}).cos) << name(scaling);
  }
  EXPECT_EQ(error_of([] {
              rotary({}).table({1, 2, 3}, {5, 5});
            }),
            "Rotary.lengths: expected a divisor of 3 positions, got 2");
}

TEST(RotaryScaling, NamesWhatIsWrong) {
  const auto error = [](const RotaryScaling& scaling, std::int64_t dims = kDims) {
    return error_of([&] { Rotary({.dims = dims, .scaling = scaling}); });
  };
  EXPECT_EQ(error(LinearScaling{0.5}), "LinearScaling.factor: expected 1 to 1e+06, got 0.5");
  EXPECT_EQ(error(LinearScaling{NAN}), "LinearScaling.factor: expected 1 to 1e+06, got nan");
  EXPECT_EQ(error(DynamicNtkScaling{2, 0}),
            "DynamicNtkScaling.original_context: expected 1 to 2^40, got 0");
  EXPECT_EQ(error(DynamicNtkScaling{2, 8}, 2),
            "DynamicNtkScaling.dims: expected more than 2, got 2");
  EXPECT_EQ(error(DynamicNtkScaling{1e6, 8}, 4), "no error");  // 1e4 (1e12)^2
  EXPECT_EQ(error_of([] {
              Rotary({.dims = 4, .theta = 1e7, .scaling = DynamicNtkScaling{1e6, 8}});
            }).substr(0, 61),
            "DynamicNtkScaling: expected a scaled theta up to 1e30, got 9.");
  EXPECT_EQ(error(YarnScaling{.original_context = 8, .beta_fast = 1, .beta_slow = 2}),
            "YarnScaling.beta_fast: expected 2 to 1e+06, got 1");
  EXPECT_EQ(error(YarnScaling{.original_context = 8, .attention_factor = 0}),
            "YarnScaling.attention_factor: expected 1e-06 to 1e+06, got 0");
  EXPECT_EQ(error(Llama3Scaling{8, 4, 4, 8}),
            "Llama3Scaling.high_freq_factor: expected more than low_freq_factor, up to 1e6, got 4");
  LongRopeScaling bad = longrope();
  bad.long_factor.pop_back();
  EXPECT_EQ(error(bad), "LongRopeScaling.long_factor: expected 16 numbers, got 15");
  bad = longrope();
  bad.short_factor[3] = 0;
  EXPECT_EQ(error(bad), "LongRopeScaling.short_factor: expected 1e-06 to 1e+06, got 0");
}

}  // namespace
}  // namespace rapt
