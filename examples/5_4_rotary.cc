// Topic 5.4, rotary positions: pair i of a head turns by position f_i, so that a score depends on the
// distance. Beyond training slow pairs reach new angles; each scaling makes other f of them.

#include <rapt/rotary.h>

#include <numeric>

#include "example.h"

using namespace example;

namespace {

/// What each scaling does for 32,768 tokens where training had 4,096.
void scalings(Proof& proof) {
  const std::int64_t trained = 4096, length = 8 * trained;
  std::vector<double> short_factor(64, 1.0), long_factor(64);  // LongRoPE's, here a plain ramp
  for (int i = 0; i < 64; ++i) long_factor[i] = std::pow(8.0, i / 63.0);
  std::puts("f [64]; D 128, theta 10000, trained on 4096 tokens, now 32768");
  std::puts("             radians a token      angle of the last pair at 32767,");
  std::puts("scaling      first      last      of its largest in training");
  for (const rapt::RotaryScaling& scaling : std::vector<rapt::RotaryScaling>{
           {},
           rapt::LinearScaling{8},
           rapt::DynamicNtkScaling{1, trained},
           rapt::YarnScaling{8, trained},
           rapt::Llama3Scaling{8, 1, 4, trained},
           rapt::LongRopeScaling{short_factor, long_factor, 8, trained}}) {
    const std::vector<double> f = rapt::Rotary({.dims = 128, .scaling = scaling}).inv_freq(length);
    const double plain = std::pow(10000.0, -126.0 / 128);
    const double reach = f[63] * (length - 1) / (plain * (trained - 1));
    std::printf("%-9s %8.3f %9.2e %12.2f\n", rapt::name(scaling), f[0], f[63], reach);
    if (scaling.index() == 0)
      proof(reach > 7.9, "no scaling: an angle that training never had");
    else
      proof(reach < 1.01, "within the angles of training");
  }
}

/// q.k of a query at position i and a key at j, both [1, 1, 1, 64].
float score(const rapt::RotaryConfig& config, std::int64_t i, std::int64_t j) {
  const rapt::Rotary rotary(config);
  Tensor q = random({1, 1, 1, 64}, 1), k = random({1, 1, 1, 64}, 2);
  rapt::apply_rotary(rapt::Threads(1), rotary.table({i}), q, q);
  rapt::apply_rotary(rapt::Threads(1), rotary.table({j}), k, k);
  return std::inner_product(q.data.begin(), q.data.end(), k.data.begin(), 0.0f);
}

void scores(Proof& proof) {
  std::puts("\nq.k, query and key at   (20, 13)  (4020, 4013)  (1000020, 1000013)   (20, 3)");
  const auto show = [&](const char* name, const rapt::RotaryConfig& config, float error) {
    const float near = score(config, 20, 13), far = score(config, 4020, 4013),
                million = score(config, 1000020, 1000013), other = score(config, 20, 3);
    std::printf("%-21s %10.4f %13.4f %19.4f %9.4f\n", name, near, far, million, other);
    proof(std::abs(near - far) < 1e-3f && std::abs(near - other) > 0.1f,
          "the distance counts and, but for rounding, nothing else");
    proof(std::abs(near - million) < error,
          "at a million tokens it is off by " + std::to_string(std::abs(near - million)));
  };
  show("half", {.dims = 64}, 0.1f);
  show("interleaved", {.dims = 64, .style = rapt::RotaryStyle::kInterleaved}, 0.1f);
  show("half, 16 features", {.dims = 16}, 0.1f);
  show("half, exact tables", {.dims = 64, .precision = rapt::RotaryPrecision::kF64}, 1e-4f);
}

}  // namespace

int main() {
  Proof proof;
  scalings(proof);
  scores(proof);
  return proof.exit_code();
}
