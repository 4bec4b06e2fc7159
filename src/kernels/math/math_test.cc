// Errors of the vector functions over f32 inputs (in the full grid all of them), against the C
// library in f64; and the same bits from every instruction set.

#include "kernels/math/math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <numbers>
#include <ostream>
#include <thread>
#include <vector>

namespace rapt {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// Inputs from `first` to `last` as bits, both included; every `step`-th, or all of them in the
/// full grid (RAPT_FULL_GRID).
struct Range {
  std::uint32_t first, last, step = 1;
};

struct Function {
  const char* name;
  MathKernels::Map MathKernels::*map;
  double (*exact)(double);
  double max_ulp;             ///< as simd/math_inl.h states it
  std::vector<Range> ranges;  ///< where the result is not trivially saturated
};

void PrintTo(const Function& function, std::ostream* os) { *os << function.name; }

double silu(double x) { return x / (1.0 + std::exp(-x)); }

double gelu(double x) { return 0.5 * x * std::erfc(-x / std::numbers::sqrt2); }

double gelu_tanh(double x) {
  return x / (1.0 + std::exp(-2 * std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

const std::vector<Range> kPositive = {{0x00000001, 0x7F7FFFFF, 61}, {0x3E800000, 0x40800000}};

// 2^-25 is 0x33000000. Of tanh, which is odd by construction, the upper half. Logarithms work on
// the significand alike in every octave: all inputs from 1/4 to 4, where the sum with the exponent
// cancels, and a sample of the others.
const Function kFunctions[] = {
    {"exp2",
     &MathKernels::exp2,
     std::exp2,
     0.88,
     {{0x33000000, 0x43000000}, {0xB3000000, 0xC3160000}}},
    {"exp",
     &MathKernels::exp,
     std::exp,
     1.02,
     {{0x33000000, 0x42B20000}, {0xB3000000, 0xC2D00000}}},
    {"log2", &MathKernels::log2, std::log2, 1.06, kPositive},
    {"log", &MathKernels::log, std::log, 0.88, kPositive},
    {"tanh", &MathKernels::tanh, std::tanh, 1.23, {{0x39000000, 0x41200000}}},
    {"silu", &MathKernels::silu, silu, 2.45, {{0x33000000, 0x41A00000}, {0xB3000000, 0xC2DC0000}}},
    {"gelu", &MathKernels::gelu, gelu, 5.21, {{0x33000000, 0x40C00000}, {0xB3000000, 0xC1680000}}},
    {"gelu_tanh",
     &MathKernels::gelu_tanh,
     gelu_tanh,
     2.62,
     {{0x33000000, 0x40C00000}, {0xB3000000, 0xC1300000}}},
};

// Defined on [-1/2, 1/2] only.
const Function kPolynomial = {"exp2_poly",
                              &MathKernels::exp2_poly,
                              std::exp2,
                              1.95,
                              {{0x33000000, 0x3F000000}, {0xB3000000, 0xBF000000}}};

/// |got - want| in units of the last place of an f32 of want's size.
double ulp_error(float got, double want) {
  if (std::isnan(got) || std::isnan(want))
    return std::isnan(got) == std::isnan(want) ? 0 : INFINITY;
  const float rounded = static_cast<float>(want);
  if (std::isinf(got) || std::isinf(rounded)) return got == rounded ? 0 : INFINITY;
  const int exponent = static_cast<int>(std::bit_cast<std::uint64_t>(want) >> 52 & 0x7FF) - 1023;
  const auto unit = static_cast<std::uint64_t>(std::max(exponent, -126) - 23 + 1023) << 52;
  return std::abs(got - want) / std::bit_cast<double>(unit);
}

struct Worst {
  double ulp = 0;
  float at = 0;
};

/// The largest error over a range. The second thread shares the work.
Worst worst_error(const Function& function, Range range) {
  constexpr std::uint64_t kBlock = 4096;
  const std::uint32_t step = std::getenv("RAPT_FULL_GRID") == nullptr ? range.step : 1;
  const std::uint64_t inputs = (std::uint64_t{range.last} - range.first) / step + 1;
  const MathKernels::Map map = math_kernels().*function.map;
  std::atomic<std::uint64_t> next{0};
  const auto work = [&](Worst& worst) {
    float x[kBlock], y[kBlock];
    for (std::uint64_t begin; (begin = next.fetch_add(kBlock)) < inputs;) {
      const std::uint64_t n = std::min(kBlock, inputs - begin);
      for (std::uint64_t i = 0; i < n; ++i)
        x[i] = std::bit_cast<float>(static_cast<std::uint32_t>(range.first + (begin + i) * step));
      map(x, y, static_cast<std::int64_t>(n));
      for (std::uint64_t i = 0; i < n; ++i)
        if (const double ulp = ulp_error(y[i], function.exact(x[i])); ulp > worst.ulp)
          worst = {ulp, x[i]};
    }
  };
  Worst mine, other;
  std::thread helper(work, std::ref(other));
  work(mine);
  helper.join();
  return mine.ulp > other.ulp ? mine : other;
}

/// The stated error holds over all of the function's ranges and is reached.
void expect_stated_error(const Function& function) {
  Worst worst;
  for (const Range range : function.ranges)
    if (const Worst here = worst_error(function, range); here.ulp > worst.ulp) worst = here;
  EXPECT_LE(worst.ulp, function.max_ulp) << "at " << worst.at;
  EXPECT_GT(worst.ulp, function.max_ulp - 0.01) << "the stated maximum is not the maximum";
}

/// Zeros, infinities, NaN, the ends of the denormals, and every `step`-th f32 there is.
std::vector<float> sample_of_all(std::uint32_t step) {
  std::vector<float> x = {0.0f,      -0.0f,      kInf,      -kInf,     kNaN,
                          0x1p-149f, -0x1p-149f, 0x1p-126f, -0x1p-126f};
  for (std::uint64_t bits = 0; bits < std::uint64_t{1} << 32; bits += step)
    x.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  return x;
}

std::vector<float> run(MathKernels::Map map, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  map(x.data(), y.data(), static_cast<std::int64_t>(x.size()));
  return y;
}

/// Equal bits, or NaN both: which NaN is no part of the contract.
bool same(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

void expect_same_bits_on_every_isa(const Function& function, const std::vector<float>& x) {
  const std::vector<float> want = run(math_table().back().*function.map, x);
  for (const Isa isa : supported_isas()) {
    const std::vector<float> got = run(entry_for(math_table(), isa).*function.map, x);
    EXPECT_TRUE(std::equal(got.begin(), got.end(), want.begin(), same)) << name(isa);
  }
}

class MathTest : public testing::TestWithParam<Function> {};

TEST_P(MathTest, ExhaustiveErrorIsAsStated) { expect_stated_error(GetParam()); }

TEST_P(MathTest, ErrorHoldsWhereResultsSaturate) {
  const Worst worst = worst_error(GetParam(), {0, 0xFFFFFFFF, 65521});
  EXPECT_LE(worst.ulp, GetParam().max_ulp) << "at " << worst.at;
}

TEST_P(MathTest, SameBitsOnEveryIsa) {
  expect_same_bits_on_every_isa(GetParam(), sample_of_all(1021));
}

TEST_P(MathTest, AnyLengthAndInPlace) {
  const std::vector<float> x = sample_of_all(0x07654321);
  const std::vector<float> want = run(math_kernels().*GetParam().map, x);
  for (std::size_t n = 0; n <= x.size(); ++n) {
    std::vector<float> y = x;
    (math_kernels().*GetParam().map)(y.data(), y.data(), static_cast<std::int64_t>(n));
    EXPECT_TRUE(std::equal(y.begin(), y.begin() + n, want.begin(), same)) << n;
    EXPECT_TRUE(std::equal(y.begin() + n, y.end(), x.begin() + n, same)) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Functions, MathTest, testing::ValuesIn(kFunctions),
                         [](const auto& info) { return info.param.name; });

TEST(MathPolynomialTest, ExhaustiveErrorIsAsStated) { expect_stated_error(kPolynomial); }

TEST(MathPolynomialTest, SameBitsOnEveryIsa) {
  std::vector<float> x;
  for (int i = -(1 << 20); i <= 1 << 20; ++i) x.push_back(std::ldexp(static_cast<float>(i), -21));
  expect_same_bits_on_every_isa(kPolynomial, x);
}

TEST(MathSpecialValuesTest, AreExact) {
  struct Case {
    MathKernels::Map MathKernels::*map;
    float x, want;
  };
  std::vector<Case> cases = {
      {&MathKernels::exp2, kInf, kInf},    {&MathKernels::exp2, -kInf, 0.0f},
      {&MathKernels::exp, kInf, kInf},     {&MathKernels::exp, -kInf, 0.0f},
      {&MathKernels::exp, 0.0f, 1.0f},     {&MathKernels::exp, -0.0f, 1.0f},
      {&MathKernels::log, 0.0f, -kInf},    {&MathKernels::log, -0.0f, -kInf},
      {&MathKernels::log, 1.0f, 0.0f},     {&MathKernels::log, kInf, kInf},
      {&MathKernels::log, -kInf, kNaN},    {&MathKernels::log, -0x1p-149f, kNaN},
      {&MathKernels::log2, 0.0f, -kInf},   {&MathKernels::log2, kInf, kInf},
      {&MathKernels::log2, -1.0f, kNaN},   {&MathKernels::tanh, kInf, 1.0f},
      {&MathKernels::tanh, -kInf, -1.0f},  {&MathKernels::tanh, -0.0f, -0.0f},
      {&MathKernels::tanh, 0.0f, 0.0f},    {&MathKernels::tanh, -0x1p-149f, -0x1p-149f},
      {&MathKernels::silu, kInf, kInf},    {&MathKernels::silu, -kInf, kNaN},
      {&MathKernels::silu, -0.0f, -0.0f},  {&MathKernels::silu, 0.0f, 0.0f},
      {&MathKernels::silu, -1e30f, -0.0f}, {&MathKernels::silu, 1e30f, 1e30f},
  };
  for (const auto map : {&MathKernels::gelu, &MathKernels::gelu_tanh})
    for (const auto& [x, want] : {std::pair(kInf, kInf),
                                  {-kInf, kNaN},
                                  {0.0f, 0.0f},
                                  {-0.0f, -0.0f},
                                  {-1e30f, -0.0f},
                                  {1e30f, 1e30f}})
      cases.push_back({map, x, want});
  for (const Function& function : kFunctions) cases.push_back({function.map, kNaN, kNaN});
  for (int n = -149; n <= 127; ++n) {
    const float power = std::ldexp(1.0f, n);
    cases.push_back({&MathKernels::exp2, static_cast<float>(n), power});
    cases.push_back({&MathKernels::log2, power, static_cast<float>(n)});
  }
  for (const Case& c : cases) {
    float y;
    (math_kernels().*c.map)(&c.x, &y, 1);
    EXPECT_TRUE(same(y, c.want)) << "f(" << c.x << ") = " << y << ", expected " << c.want;
  }
}

}  // namespace
}  // namespace rapt
