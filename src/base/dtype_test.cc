#include "rapt/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace rapt {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

/// Every finite number of a type, ascending from 0, as a double: what its bits mean.
double meaning(std::uint32_t bits, int mantissa_bits, int bias) {
  const int exponent = static_cast<int>(bits >> mantissa_bits);
  const double mantissa = bits & ((1u << mantissa_bits) - 1);
  return exponent == 0
             ? std::ldexp(mantissa, 1 - bias - mantissa_bits)
             : std::ldexp(mantissa + (1u << mantissa_bits), exponent - bias - mantissa_bits);
}

/// x between the numbers of `bits` and `bits + 1` rounds to the nearer, and the middle to the even, up
/// to the number or infinity of `last`.
template <class T, class Round>
void expect_rounding(Round&& round, std::uint32_t last, int mantissa_bits, int bias) {
  using Bits = decltype(T::bits);
  constexpr std::uint32_t kSign = 1u << (8 * sizeof(Bits) - 1);
  for (std::uint32_t bits = 0; bits < last; ++bits) {
    const double low = meaning(bits, mantissa_bits, bias),
                 high = meaning(bits + 1, mantissa_bits, bias);
    ASSERT_EQ(to_float(T{static_cast<Bits>(bits)}), low) << bits;
    const float negative = to_float(T{static_cast<Bits>(bits | kSign)});
    ASSERT_EQ(negative, -low) << bits;
    ASSERT_TRUE(std::signbit(negative)) << bits;
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(round(static_cast<float>(low)).bits, bits);
    ASSERT_EQ(middle, (low + high) / 2);
    for (const float sign : {1.0f, -1.0f}) {
      const std::uint32_t s = sign < 0 ? kSign : 0;
      ASSERT_EQ(round(sign * middle).bits, s | (bits + (bits & 1))) << bits;
      ASSERT_EQ(round(sign * std::nextafter(middle, 0.0f)).bits, s | bits) << bits;
      ASSERT_EQ(round(sign * std::nextafter(middle, kInf)).bits, s | (bits + 1)) << bits;
    }
  }
}

TEST(DType, EveryF16IsExactAndNumbersRoundToTheNearest) {
  expect_rounding<F16>([](float x) { return to_f16(x); }, 0x7C00, 10, 15);
}

TEST(DType, EveryBF16IsExactAndNumbersRoundToTheNearest) {
  expect_rounding<BF16>([](float x) { return to_bf16(x); }, 0x7F80, 7, 127);
}

TEST(DType, EveryF8E4M3IsExactAndNumbersRoundToTheNearest) {
  expect_rounding<F8E4M3>([](float x) { return to_f8e4m3(x); }, 0x7E, 3, 7);
}

// So what holds on both sides of every middle holds between them.
TEST(DType, RoundingToF8E4M3IsMonotonic) {
  std::uint32_t code = 0;
  for (std::uint32_t bits = 0; bits <= 0x7F800000u; bits += 251) {
    const std::uint32_t next = to_f8e4m3(std::bit_cast<float>(bits)).bits;
    ASSERT_TRUE(next == code || next == code + 1) << bits;
    ASSERT_EQ(to_f8e4m3(std::bit_cast<float>(bits | 0x80000000u)).bits, next | 0x80u) << bits;
    code = next;
  }
  EXPECT_EQ(code, 0x7Eu);
}

TEST(DType, F8E4M3HasNoInfinity) {
  EXPECT_EQ(to_float(F8E4M3{0x7E}), 448.0f);
  EXPECT_EQ(to_float(F8E4M3{0xFE}), -448.0f);
  for (const float x : {448.0f, 449.0f, 1e9f, std::numeric_limits<float>::max(), kInf}) {
    EXPECT_EQ(to_f8e4m3(x).bits, 0x7E);
    EXPECT_EQ(to_f8e4m3(-x).bits, 0xFE);
  }
  for (const std::uint32_t nan : {0x7FC00000u, 0x7F800001u, 0xFFFFFFFFu})
    EXPECT_EQ(to_f8e4m3(std::bit_cast<float>(nan)).bits, 0x7F);
  EXPECT_TRUE(std::isnan(to_float(F8E4M3{0x7F})));
  EXPECT_TRUE(std::isnan(to_float(F8E4M3{0xFF})));
}

TEST(DType, InfinityStaysAndNaNLosesItsPayload) {
  EXPECT_EQ(to_f16(kInf).bits, 0x7C00);
  EXPECT_EQ(to_f16(-kInf).bits, 0xFC00);
  EXPECT_EQ(to_f16(std::numeric_limits<float>::max()).bits, 0x7C00);
  EXPECT_EQ(to_bf16(-kInf).bits, 0xFF80);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()).bits, 0x7F80);
  for (const std::uint32_t nan : {0x7FC00000u, 0x7F800001u, 0xFFFFFFFFu}) {
    EXPECT_EQ(to_f16(std::bit_cast<float>(nan)).bits, 0x7E00);
    EXPECT_EQ(to_bf16(std::bit_cast<float>(nan)).bits, 0x7FC0);
  }
  EXPECT_EQ(to_float(F16{0xFC00}), -kInf);
  EXPECT_TRUE(std::isnan(to_float(F16{0x7C01})));
  EXPECT_TRUE(std::isnan(to_float(BF16{0xFF81})));
}

TEST(DType, NamesAndSizes) {
  EXPECT_STREQ(name(DType::kF32), "f32");
  EXPECT_STREQ(name(DType::kBF16), "bf16");
  EXPECT_STREQ(name(DType::kF16), "f16");
  EXPECT_EQ(size_of(DType::kF32), 4);
  EXPECT_EQ(size_of(DType::kBF16), 2);
  EXPECT_EQ(size_of(DType::kF16), 2);
  EXPECT_STREQ(name(DType::kInt8), "int8");
  EXPECT_STREQ(name(DType::kF8E4M3), "fp8 e4m3");
  EXPECT_EQ(size_of(DType::kInt8), 1);
  EXPECT_EQ(size_of(DType::kF8E4M3), 1);
}

}  // namespace
}  // namespace rapt
