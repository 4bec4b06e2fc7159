// Every operation of vec_contract.md gives the bits of the scalar definition on every instruction
// set; and the definition is what the contract says.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/isa.h"
#include "base/isa_table.h"
#include "rapt/dtype.h"
#include "simd/test/operations.h"

namespace rapt {

RAPT_FOR_EACH_NATIVE_ISA(RAPT_DECLARE, const SimdOperations kSimd)

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kMax = std::numeric_limits<float>::max();

std::vector<SimdOperations> table() {
  std::vector<SimdOperations> table = {scalar::kSimd};
  for (const SimdOperations& entry : {RAPT_FOR_EACH_NATIVE_ISA(RAPT_ENTRY, kSimd)})
    for (const Isa isa : supported_isas())
      if (isa == entry.isa && isa != Isa::kScalar) table.push_back(entry);
  return table;
}

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

struct Arguments {
  float a[kOperationFloats], b[kOperationFloats], c[kOperationFloats];
};

struct Output {
  float lane[kOperationFloats] = {};
};

Output run(const SimdOperation& operation, const Arguments& in) {
  Output out;
  operation.run(in.a, in.b, in.c, out.lane);
  return out;
}

/// The first lane whose bits differ, or -1. NaN of arithmetic equals any NaN.
int first_difference(const SimdOperation& operation, const Output& x, const Output& y) {
  for (int i = 0; i < kOperationFloats; ++i)
    if (bits(x.lane[i]) != bits(y.lane[i]) &&
        !(operation.arithmetic && std::isnan(x.lane[i]) && std::isnan(y.lane[i])))
      return i;
  return -1;
}

void expect_same_bits(const Arguments& in) {
  const std::vector<SimdOperations> all = table();
  for (std::size_t at = 0; at < all[0].operations.size(); ++at) {
    const Output want = run(all[0].operations[at], in);
    for (const SimdOperations& entry : all) {
      const SimdOperation& operation = entry.operations[at];
      const Output got = run(operation, in);
      const int lane = first_difference(operation, got, want);
      ASSERT_EQ(lane, -1) << operation.name << " on " << name(entry.isa) << ": " << got.lane[lane]
                          << ", scalar " << want.lane[lane] << " for (" << in.a[lane] << ", "
                          << in.b[lane] << ", " << in.c[lane] << ")";
    }
  }
}

TEST(SimdTest, SpecialValuesHaveTheBitsOfScalar) {
  const float magnitudes[] = {0.0f,
                              0x1p-149f,
                              0x1.fffffcp-127f,
                              0x1p-126f,
                              0x1p-125f,
                              0.5f,
                              1.0f,
                              1.5f,
                              2.5f,
                              3.0f,
                              0x1.8p23f,
                              0x1.fffffep22f,
                              1e30f,
                              kMax,
                              kInf,
                              kNaN,
                              std::bit_cast<float>(0x7FC12345u)};
  std::vector<float> values;
  for (const float x : magnitudes) values.insert(values.end(), {x, -x});
  const std::size_t n = values.size();
  // Rotating the second and the third against the first makes every triple.
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      Arguments in;
      for (std::size_t lane = 0; lane < kOperationFloats; ++lane) {
        in.a[lane] = values[lane % n];
        in.b[lane] = values[(lane + i) % n];
        in.c[lane] = values[(lane + j) % n];
      }
      for (std::size_t shift = 0; shift < n; shift += 16) {
        ASSERT_NO_FATAL_FAILURE(expect_same_bits(in));
        for (float* x : {in.a, in.b, in.c}) std::memmove(x, x + 16, sizeof in.a - 64);
      }
    }
}

TEST(SimdTest, RandomBitsHaveTheBitsOfScalar) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 20000; ++trial) {
    Arguments in;
    for (float* x : {in.a, in.b, in.c})
      for (int i = 0; i < kOperationFloats; ++i)
        x[i] = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    ASSERT_NO_FATAL_FAILURE(expect_same_bits(in));
  }
}

TEST(SimdTest, OrdinaryValuesHaveTheBitsOfScalar) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0.0f, 8.0f);
  for (int trial = 0; trial < 20000; ++trial) {
    Arguments in;
    for (float* x : {in.a, in.b, in.c})
      for (int i = 0; i < kOperationFloats; ++i) x[i] = normal(random);
    ASSERT_NO_FATAL_FAILURE(expect_same_bits(in));
  }
}

const SimdOperation& scalar_operation(const std::string& name);

/// Pairs whose products and sums have exponents near each other, `scale` the exponent of all: half of
/// them of few bits, so that sums cancel and end on ties.
Arguments pairs_around(std::mt19937& random, int scale) {
  const auto number = [&](int bits, int exponent) {
    const auto significand = static_cast<float>((random() % (1u << bits)) | (1u << (bits - 1)));
    const float x = std::ldexp(significand, exponent - bits + static_cast<int>(random() % 9) - 4);
    return random() % 2 == 0 ? x : -x;
  };
  Arguments in = {};
  const int split = static_cast<int>(random() % 60) - 30, bits = random() % 2 == 0 ? 8 : 2;
  std::uint16_t a[32], b[2];
  for (std::uint16_t& x : a) x = to_bf16(number(bits, scale / 2 + split)).bits;
  for (std::uint16_t& x : b) x = to_bf16(number(bits, scale - scale / 2 - split)).bits;
  std::memcpy(in.a, a, sizeof a);
  std::memcpy(in.b, b, sizeof b);
  for (int i = 0; i < 16; ++i) in.c[i] = number(random() % 2 == 0 ? 24 : 3, scale);
  return in;
}

/// The pair step on pairs of all exponents, of any bits, and of special values.
void expect_pairs_of_scalar(int trials) {
  std::mt19937 random(3);
  for (int scale = -170; scale <= 130; ++scale)
    for (int trial = 0; trial < trials; ++trial)
      ASSERT_NO_FATAL_FAILURE(expect_same_bits(pairs_around(random, scale))) << scale;
  const std::uint16_t special[] = {0x0000, 0x8000, 0x0001, 0x807F, 0x0080, 0x8080, 0x3F80,
                                   0xBF80, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0x7FC0, 0x7F81};
  for (int trial = 0; trial < 100 * trials; ++trial) {
    Arguments in = {};
    std::uint16_t a[32], b[2];
    for (std::uint16_t& x : a) x = trial % 2 == 0 ? special[random() % 14] : random();
    for (std::uint16_t& x : b) x = trial % 2 == 0 ? special[random() % 14] : random();
    std::memcpy(in.a, a, sizeof a);
    std::memcpy(in.b, b, sizeof b);
    for (int i = 0; i < 16; ++i)
      in.c[i] = trial % 4 < 2 ? to_float(BF16{special[random() % 14]})
                              : std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    ASSERT_NO_FATAL_FAILURE(expect_same_bits(in));
  }
}

TEST(SimdTest, PairsHaveTheBitsOfScalar) { expect_pairs_of_scalar(40); }

// VDPBF16PS is what the contract says of it: more of the same, where there is one.
TEST(SimdTest, DotInstructionIsTwoFmaStepsExhaustive) {
  const auto& isas = supported_isas();
  if (std::find(isas.begin(), isas.end(), Isa::kAvx512Bf16) == isas.end())
    GTEST_SKIP() << "this CPU has no AVX512-BF16";
  expect_pairs_of_scalar(1000);
}

TEST(SimdTest, PairsFlushAsTheContractSays) {
  const auto pair = [](float a0, float a1, float b0, float b1, float sum) {
    Arguments in = {};
    const std::uint16_t a[2] = {to_bf16(a0).bits, to_bf16(a1).bits},
                        b[2] = {to_bf16(b0).bits, to_bf16(b1).bits};
    std::memcpy(in.a, a, sizeof a);
    std::memcpy(in.b, b, sizeof b);
    in.c[0] = sum;
    return run(scalar_operation("pairs"), in).lane[0];
  };
  EXPECT_EQ(pair(1, 0x1p-24f, 1, 1, 1), 2);  // odd first: 1 + 2^-24 is a tie
  EXPECT_EQ(pair(0x1p-24f, 1, 1, 1, 1), 2);
  EXPECT_EQ(pair(-1, 0x1p-25f, 1, 1, 1), 0);                         // lost before the sum cancels
  EXPECT_EQ(pair(0x1p-25f, -1, 1, 1, 1), 0x1p-25f);                  // kept after it has
  EXPECT_EQ(bits(pair(-0x1p-64f, 0, 0x1p-63f, 0, 0)), bits(-0.0f));  // a denormal result
  EXPECT_EQ(pair(0x1p-64f, 0, 0x1p-62f, 0, 0), 0x1p-126f);
  EXPECT_EQ(pair(0x1p-127f, 0, 0x1p100f, 0, 0), 0);  // a denormal element
  // 2^-126 less 2^-151 is a tie of 24 bits and goes to 2^-126; less 3 2^-152 it is below.
  EXPECT_EQ(pair(-0x1p-76f, 0, 0x1p-75f, 0, 0x1p-126f), 0x1p-126f);
  EXPECT_EQ(pair(-0x1.8p-76f, 0, 0x1p-75f, 0, 0x1p-126f), 0);
}

/// Numbers between neighbours of a half type, and those next to them.
template <class T>
void expect_same_bits_around_middles() {
  for (std::uint32_t half = 0; half < 0x10000; half += 16) {
    Arguments in = {};
    for (int i = 0; i < 16; ++i) {
      const auto h = static_cast<std::uint16_t>(half + i);
      const float x = to_float(T{h}), next = to_float(T{static_cast<std::uint16_t>(h + 1)});
      in.a[i] = x + (next - x) / 2;
      in.b[i] = std::nextafter(in.a[i], kInf);
      in.c[i] = std::nextafter(in.a[i], -kInf);
    }
    for (float* x : {in.b, in.c, in.b}) {
      ASSERT_NO_FATAL_FAILURE(expect_same_bits(in));
      std::swap_ranges(in.a, in.a + 16, x);
    }
  }
}

TEST(SimdTest, NumbersBetweenHalvesHaveTheBitsOfScalar) {
  expect_same_bits_around_middles<F16>();
  expect_same_bits_around_middles<BF16>();
}

TEST(SimdTest, EveryHalfHasTheBitsOfScalar) {
  for (std::uint32_t half = 0; half < 0x10000; half += 2 * kOperationFloats) {
    std::uint16_t halves[2 * kOperationFloats];
    for (int i = 0; i < 2 * kOperationFloats; ++i) halves[i] = static_cast<std::uint16_t>(half + i);
    for (int from = 0; from < 2 * kOperationFloats; from += 16) {
      Arguments in = {};
      std::memcpy(in.a, halves + from, 16 * sizeof *halves);
      ASSERT_NO_FATAL_FAILURE(expect_same_bits(in));
    }
  }
}

const SimdOperation& scalar_operation(const std::string& name) {
  for (const SimdOperation& operation : scalar::kSimd.operations)
    if (operation.name == name) return operation;
  throw std::out_of_range(name);
}

/// Its lane 0 for arguments that are the same in all lanes.
float scalar_result(const std::string& name, float a, float b = 0, float c = 0) {
  Arguments in;
  std::fill(std::begin(in.a), std::end(in.a), a);
  std::fill(std::begin(in.b), std::end(in.b), b);
  std::fill(std::begin(in.c), std::end(in.c), c);
  return run(scalar_operation(name), in).lane[0];
}

TEST(SimdTest, TheDefinitionIsTheContract) {
  EXPECT_EQ(scalar_result("fma", 1 + 0x1p-12f, 1 + 0x1p-12f, -1 - 0x1p-11f), 0x1p-24f);  // fused
  EXPECT_EQ(scalar_result("add", 0x1p-149f, 0x1p-149f), 0x1p-148f);  // denormals live
  EXPECT_EQ(scalar_result("max", kNaN, 1), 1);
  EXPECT_TRUE(std::isnan(scalar_result("max", 1, kNaN)));
  EXPECT_EQ(bits(scalar_result("max", 0.0f, -0.0f)), bits(-0.0f));
  EXPECT_EQ(scalar_result("min", kNaN, 1), 1);
  EXPECT_EQ(bits(scalar_result("min", -0.0f, 0.0f)), bits(0.0f));
  EXPECT_EQ(scalar_result("ceil", 2.25f), 3);
  EXPECT_EQ(scalar_result("ceil", -2.25f), -2);
  EXPECT_EQ(scalar_result("less, select", 1, kNaN, 7), 7);
  EXPECT_TRUE(std::isnan(scalar_result("not_less, select", 1, kNaN, 7)));
  EXPECT_EQ(scalar_result("equal, select", -0.0f, 0.0f, 7), 0);
  EXPECT_EQ(bits(scalar_result("shift_right<23>", std::bit_cast<float>(0x80000000u))), 0xFFFFFF00u);
  EXPECT_EQ(scalar_result("to_float", std::bit_cast<float>(0x01000003)), 0x1.000004p24f);
  EXPECT_EQ(scalar_result("reduce_add", 3), 48);
}

TEST(SimdTest, ReductionsMeetInTheContractsTree) {
  // 1e9 and -1e9 cancel when their lanes meet; the ones that met either of them before are lost.
  const auto sum = [](int partner) {
    Arguments in = {};
    std::fill_n(in.a, 16, 1.0f);
    in.a[0] = 1e9f;
    in.a[partner] = -1e9f;
    return run(scalar_operation("reduce_add"), in).lane[0];
  };
  EXPECT_EQ(sum(8), 14);
  EXPECT_EQ(sum(4), 12);
  EXPECT_EQ(sum(2), 8);
  EXPECT_EQ(sum(1), 0);
}

}  // namespace
}  // namespace rapt
