#include "kv/quantise.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "util.h"

namespace rapt::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kMax = std::numeric_limits<float>::max();
constexpr float kDenormal = std::numeric_limits<float>::denorm_min();

struct Token {
  float scale;
  std::vector<float> elements;
};

template <class U>
Token quantised(const std::vector<float>& x) {
  std::vector<U> out(x.size());
  Token token;
  token.scale = quantise(x.data(), 1, static_cast<std::int64_t>(x.size()), out.data(), 1);
  for (const U element : out) token.elements.push_back(to_float(element));
  return token;
}

template <class U>
class Quantise : public testing::Test {};
using Types = testing::Types<std::int8_t, F8E4M3>;
TYPED_TEST_SUITE(Quantise, Types);

/// The nearest of a type's elements by trying all of them, ties to the even code.
float nearest(std::int8_t, float x) {
  float best = -127;
  for (int n = -127; n <= 127; ++n) {
    const double distance = std::fabs(static_cast<double>(x) - n),
                 least = std::fabs(static_cast<double>(x) - best);
    if (distance < least || (distance == least && n % 2 == 0)) best = static_cast<float>(n);
  }
  return best;
}
float nearest(F8E4M3, float x) {
  float best = 0;
  for (std::uint8_t code = 0; code < 0x7F; ++code) {
    const float n = to_float(F8E4M3{code});
    const double distance = std::fabs(std::fabs(static_cast<double>(x)) - n),
                 least = std::fabs(std::fabs(static_cast<double>(x)) - best);
    if (distance < least || (distance == least && code % 2 == 0)) best = n;
  }
  return std::copysign(best, x);
}

TYPED_TEST(Quantise, IsTheNearestElementTimesAScale) {
  Rng rng(1);
  for (int token = 0; token < 200; ++token) {
    std::vector<float> x(37);
    const float size = std::ldexp(1.0f, static_cast<int>(rng.below(200)) - 100);
    for (float& e : x) e = size * rng.normal() * rng.uniform() * rng.uniform();
    float largest = 0;
    for (const float e : x) largest = std::max(largest, std::fabs(e));
    const auto got = quantised<TypeParam>(x);
    EXPECT_EQ(got.scale, largest / kLargest<TypeParam>);
    for (std::size_t e = 0; e < x.size(); ++e) {
      EXPECT_EQ(got.elements[e], nearest(TypeParam{}, x[e] / got.scale)) << x[e];
      const double step = std::is_same_v<TypeParam, F8E4M3>
                              ? std::max(std::fabs(x[e]) / got.scale * 0x1p-3, 0x1p-9)
                              : 1.0;
      EXPECT_LE(std::fabs(x[e] - static_cast<double>(got.elements[e]) * got.scale),
                got.scale * step * (0.5 + 0x1p-12));
    }
  }
}

TYPED_TEST(Quantise, TheLargestTakesTheLargestElement) {
  for (const float x : {1.0f, 3.0f, 1e-30f, 1e30f, kMax, 0.1f}) {
    const auto got = quantised<TypeParam>({x, -x, 0.0f});
    EXPECT_EQ(got.elements, (std::vector<float>{kLargest<TypeParam>, -kLargest<TypeParam>, 0}));
  }
}

TYPED_TEST(Quantise, ZerosHaveScale0) {
  const auto got = quantised<TypeParam>({0.0f, -0.0f});
  EXPECT_EQ(bits(got.scale), 0u);
  EXPECT_EQ(bits(got.elements[1]), 0u);
}

TYPED_TEST(Quantise, AScaleThatIsTooSmallIs0) {
  const auto got = quantised<TypeParam>({kDenormal, -40 * kDenormal});
  EXPECT_EQ(bits(got.scale), 0u);
  EXPECT_EQ(got.elements, (std::vector<float>{0, 0}));
}

TYPED_TEST(Quantise, WhatIsNotFiniteHasScaleNaN) {
  for (const float x : {kInf, -kInf, std::nanf("")})
    for (int at = 0; at < 3; ++at) {
      std::vector<float> token = {1, 2, 3};
      token[static_cast<std::size_t>(at)] = x;
      const auto got = quantised<TypeParam>(token);
      EXPECT_EQ(bits(got.scale), kNanBits);
      EXPECT_EQ(got.elements, (std::vector<float>{0, 0, 0}));
    }
}

TEST(QuantiseInt8, TiesGoToEven) {
  EXPECT_EQ(quantised<std::int8_t>({127, 0.5, 1.5, 2.5, -2.5, -3.5, 126.5, -126.5}).elements,
            (std::vector<float>{127, 0, 2, 2, -2, -4, 126, -126}));
}

// Scales that are denormals are coarse: x / scale may be beyond 127.
TEST(QuantiseInt8, DenormalsAreClamped) {
  const auto got = quantised<std::int8_t>({190 * kDenormal, -190 * kDenormal, 64 * kDenormal});
  EXPECT_EQ(got.scale, kDenormal);
  EXPECT_EQ(got.elements, (std::vector<float>{127, -127, 64}));
}

TEST(QuantiseInt8, TakesEveryTypeAndStride) {
  const std::vector<BF16> x = {to_bf16(4), to_bf16(9), to_bf16(-127)};
  std::int8_t out[5] = {7, 7, 7, 7, 7};
  EXPECT_EQ(quantise(x.data(), 2, 2, out, 3), 1.0f);
  EXPECT_EQ(std::vector<int>(out, out + 5), (std::vector<int>{4, 7, 7, -127, 7}));
}

}  // namespace
}  // namespace rapt::test
