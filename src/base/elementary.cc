#include "base/elementary.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>

namespace rapt::elementary {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// ln 2 in two parts: the product of the first with an integer below 2^20 is exact.
constexpr double kLn2High = 0x1.62e42fefa0000p-1;
constexpr double kLn2Low = 0x1.cf79abc9e3b3ap-40;

// Adding it rounds a number below 2^51 to an integer, ties to even.
constexpr double kRound = 0x1.8p52;

/// A value as the unevaluated sum high + low, |low| <= ulp(high) / 2.
struct Double2 {
  double high, low;
};

Double2 two_sum(double a, double b) {
  const double sum = a + b, b_part = sum - a;
  return {sum, (a - (sum - b_part)) + (b - b_part)};
}

Double2 two_product(double a, double b) {
  const double product = a * b;
  return {product, std::fma(a, b, -product)};
}

/// 2^n, n in [-1022, 1023].
double power_of_two(std::int64_t n) {
  return std::bit_cast<double>(static_cast<std::uint64_t>(n + 1023) << 52);
}

/// e^(x + low), low small against x.
[[gnu::always_inline]] inline double exp_of(double x, double low) {
  if (!(x < 709.79)) return x != x ? x : kInfinity;
  if (x < -708.0) return 0.0;
  const double n = (x * 0x1.71547652b82fep0 + kRound) - kRound;
  // r = x - n ln 2, |r| <= ln 2 / 2.
  const double head = std::fma(n, -kLn2High, x);
  const double r = head + std::fma(n, -kLn2Low, low);
  // The series of e^r - 1 - r - r^2 / 2 up to r^13; what follows is below 2^-58.
  double p = 1.0 / 6227020800.0;
  for (const double c :
       {1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0,
        1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0})
    p = std::fma(p, r, c);
  const double tail = std::fma(r * r, std::fma(p, r, 0.5), std::fma(n, -kLn2Low, low) - (r - head));
  const auto exponent = static_cast<std::int64_t>(n);
  const double value = 1.0 + (r + tail);
  return exponent == 1024 ? value * power_of_two(1023) * 2.0 : value * power_of_two(exponent);
}

/// ln x in two parts, for 0 < x < inf.
Double2 log_of(double x) {
  std::int64_t e = 0;
  if (x < 0x1p-1022) x *= 0x1p54, e = -54;
  const auto bits = std::bit_cast<std::uint64_t>(x);
  constexpr std::uint64_t kSqrtHalf = 0x3FE6A09E667F3BCDu;
  const std::uint64_t above = bits - kSqrtHalf;
  e += static_cast<std::int64_t>(above) >> 52;
  const double m =
      std::bit_cast<double>((above & 0xFFFFFFFFFFFFFu) + kSqrtHalf);  // [sqrt 1/2, sqrt 2)
  // ln m = 2 atanh(z) = 2 z (1 + z^2/3 + z^4/5 + ..), z = (m - 1) / (m + 1), |z| < 0.172.
  const double numerator = m - 1.0;
  const Double2 denominator = two_sum(m, 1.0);
  const double z = numerator / denominator.high;
  const double z_low =
      (std::fma(-z, denominator.high, numerator) - z * denominator.low) / denominator.high;
  const double w = z * z;
  double p = 1.0 / 25.0;
  for (int k = 23; k >= 5; k -= 2) p = std::fma(p, w, 1.0 / k);
  // The leading term w / 3 in two parts keeps the sum good to beyond 53 bits.
  const Double2 w2 = two_product(z, z);
  const double third = w2.high * (1.0 / 3.0);
  const double third_low =
      (std::fma(-third, 3.0, w2.high) + w2.low + 2.0 * z * z_low) * (1.0 / 3.0) + w * w * p;
  const Double2 cubic = two_product(2.0 * z, third);
  const double cubic_low = cubic.low + 2.0 * z * third_low + 2.0 * z_low * third;
  const auto n = static_cast<double>(e);
  const Double2 a = two_sum(n * kLn2High, 2.0 * z);
  const Double2 b = two_sum(a.high, cubic.high);
  const double low = a.low + b.low + (2.0 * z_low + cubic_low + n * kLn2Low);
  return two_sum(b.high, low);
}

// A sampler takes an exponential of every token of the vocabulary. Where the compiler may not use the
// instruction, each fma is a call of the C library; what is rounded once is the same.
#if defined(__x86_64__) && !defined(__FMA__)
__attribute__((target("fma"))) double exp_by_instructions(double x) { return exp_of(x, 0.0); }
bool has_instructions() { return __builtin_cpu_supports("fma") != 0; }
#else
double exp_by_instructions(double x) { return exp_of(x, 0.0); }
constexpr bool has_instructions() { return true; }
#endif

}  // namespace

double exp(double x) noexcept {
  return has_instructions() ? exp_by_instructions(x) : exp_of(x, 0.0);
}

double log(double x) noexcept {
  if (x == 0.0) return -kInfinity;
  if (!(x > 0.0)) return kNaN;
  return x == kInfinity ? x : log_of(x).high;
}

double pow(double x, double y) noexcept {
  const Double2 l = log_of(x);
  const Double2 product = two_product(y, l.high);
  return exp_of(product.high, std::fma(y, l.low, product.low));
}

SinCos sin_cos(double x) noexcept {
  if (!(x < 0x1p30 && x > -0x1p30)) return {kNaN, kNaN};
  // x - n pi/2 with pi/2 in three parts; the first difference is exact.
  const double n = (x * 0x1.45f306dc9c883p-1 + kRound) - kRound;
  const double first = std::fma(n, -0x1.921fb544p0, x);
  const Double2 second = two_product(n, -0x1.0b4611a6p-34);
  const Double2 sum = two_sum(first, second.high);
  const double rest = sum.low + second.low + n * -0x1.3198a2e037073p-69;
  const Double2 r = two_sum(sum.high, rest);
  const double w = r.high * r.high;
  double s = 1.0 / 355687428096000.0, c = -1.0 / 6402373705728000.0;
  for (const double k : {-1.0 / 1307674368000.0, 1.0 / 6227020800.0, -1.0 / 39916800.0,
                         1.0 / 362880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0})
    s = std::fma(s, w, k);
  for (const double k : {1.0 / 20922789888000.0, -1.0 / 87178291200.0, 1.0 / 479001600.0,
                         -1.0 / 3628800.0, 1.0 / 40320.0, -1.0 / 720.0, 1.0 / 24.0})
    c = std::fma(c, w, k);
  const double sine = r.high + std::fma(r.high * w, s, r.low);
  const double cosine = 1.0 - (0.5 * w - std::fma(w * w, c, -r.high * r.low));
  switch (static_cast<std::int64_t>(n) & 3) {
    case 0:
      return {sine, cosine};
    case 1:
      return {cosine, -sine};
    case 2:
      return {-sine, -cosine};
    default:
      return {-cosine, sine};
  }
}

}  // namespace rapt::elementary
