#include "layer/rotary_power.h"

#include <bit>
#include <cmath>
#include <initializer_list>

#include "base/elementary.h"

namespace rapt {
namespace {

constexpr std::int64_t kBlock = 32;  // torch's two vectors of 16 floats

/// A value as the unevaluated sum high + low of two floats.
struct Float2 {
  float high, low;
};

/// a + b where |a| >= |b|.
Float2 fast_sum(Float2 a, Float2 b) {
  const float sum = a.high + b.high;
  return {sum, a.high - sum + b.high + a.low + b.low};
}

Float2 sum(Float2 a, Float2 b) {
  const float sum = a.high + b.high, b_part = sum - a.high;
  const float rest = (a.high - (sum - b_part)) + (b.high - b_part);
  return {sum, rest + (a.low + b.low)};
}

Float2 product(Float2 a, float b) {
  const float product = a.high * b;
  return {product, std::fma(a.low, b, std::fma(a.high, b, -product))};
}

Float2 product(Float2 a, Float2 b) {
  const float product = a.high * b.high;
  const float rest = std::fma(a.high, b.high, -product);
  return {product, std::fma(a.high, b.low, std::fma(a.low, b.high, rest))};
}

Float2 square(Float2 a) {
  const float square = a.high * a.high;
  return {square, std::fma(a.high + a.high, a.low, std::fma(a.high, a.high, -square))};
}

Float2 quotient(Float2 a, Float2 b) {
  const float inverse = 1.0f / b.high, quotient = a.high * inverse;
  const float rest = std::fma(inverse, a.high, -quotient);
  const float miss = std::fma(-b.low, inverse, std::fma(-b.high, inverse, 1.0f));
  return {quotient, std::fma(quotient, miss, std::fma(a.low, inverse, rest))};
}

/// 2^n, n in [-126, 127].
float power_of_two(int n) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(n + 127) << 23);
}

float polynomial(float x, std::initializer_list<float> coefficients) {
  float value = 0;
  for (const float c : coefficients) value = std::fma(value, x, c);
  return value;
}

/// ln x = e ln 2 + 2 atanh(z), z = (m - 1) / (m + 1), x = m 2^e with m in [3/4, 3/2).
Float2 log_of(float x) {
  const int e = static_cast<int>(std::bit_cast<std::uint32_t>(x * (1.0f / 0.75f)) >> 23) - 127;
  const Float2 m = {x * power_of_two(-e), 0};
  const Float2 z = quotient(sum({-1, 0}, m), sum({1, 0}, m)), w = square(z);
  const float p = polynomial(w.high, {0.240320354700088500976562f, 0.285112679004669189453125f,
                                      0.400007992982864379882812f});
  const Float2 two_thirds = {0.66666662693023681640625f, 3.69183861259614332084311e-09f};
  const Float2 ln2 = {0.69314718246459960938f, -1.904654323148236017e-09f};
  const Float2 head = fast_sum(product(ln2, static_cast<float>(e)), {2 * z.high, 2 * z.low});
  return fast_sum(head, product(product(w, z), sum(product(w, p), two_thirds)));
}

/// e^x = 2^n (1 + r + r^2 p(r)), r = x - n ln 2.
float exp_of(Float2 x) {
  const float n = std::rint((x.high + x.low) * 1.44269504088896340736f);
  Float2 r = sum(x, {n * -0.693145751953125f, 0});
  r = sum(r, {n * -1.428606765330187045e-06f, 0});
  const float high = r.high + r.low;
  r = {high, r.high - high + r.low};
  const float p = polynomial(r.high, {0.00136324646882712841033936f, 0.00836596917361021041870117f,
                                      0.0416710823774337768554688f, 0.166665524244308471679688f,
                                      0.499999850988388061523438f});
  const Float2 value = fast_sum({1, 0}, fast_sum(r, product(square(r), p)));
  return (value.high + value.low) * power_of_two(static_cast<int>(n));
}

}  // namespace

std::vector<float> rotary_powers(float theta, std::int64_t dims) {
  std::vector<float> powers;
  const std::int64_t pairs = dims / 2, in_blocks = pairs / kBlock * kBlock;
  const Float2 log = log_of(theta);
  for (std::int64_t i = 0; i < pairs; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dims);
    powers.push_back(i < in_blocks ? exp_of(product(log, exponent))
                                   : static_cast<float>(elementary::pow(theta, exponent)));
  }
  return powers;
}

std::vector<double> rotary_powers(double theta, std::int64_t dims) {
  std::vector<double> powers;
  for (std::int64_t i = 0; i < dims / 2; ++i)
    powers.push_back(
        elementary::pow(theta, static_cast<double>(2 * i) / static_cast<double>(dims)));
  return powers;
}

}  // namespace rapt
