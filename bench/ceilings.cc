#include "bench/ceilings.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "base/memory.h"
#include "bench/clock.h"
#include "kernels/ceilings/ceilings.h"

namespace rapt::bench {
namespace {

// Bursts of arithmetic as long as a repeat: what disturbs the one disturbs the other.
constexpr int kFmaBursts = 2, kExpBursts = 1;
constexpr std::int64_t kCallSteps = 100'000;
constexpr std::int64_t kCallExps = 1 << 20;

// Well within a first-level cache.
constexpr std::int64_t kExpData = 2048;

const CeilingKernels& kernels() { return entry_for(ceilings_table(), active_isa()); }

// The best rate of some bursts of `work`, which each thread does `amount` of in a call and returns
// a sum of: results that are used cannot be optimised away.
template <class F>
double best_rate(const Threads& threads, int bursts, double amount, F&& work) {
  std::atomic<float> sink = 0;
  double best = 0;
  for (int burst = 0; burst < bursts; ++burst) {
    const double seconds =
        seconds_of_repeat([&] { threads.run(threads.count(), [&](int) { sink = work(); }); });
    best = std::max(best, threads.count() * amount / seconds);
  }
  return best;
}

double fma_flops(const Threads& threads) {
  return best_rate(threads, kFmaBursts, kCallSteps * kernels().step_flops,
                   [] { return kernels().multiply_add(kCallSteps, 0.5f, 0.5f); });
}

double dot_flops(const Threads& threads) {
  const DotCeiling* ceiling = dot_ceiling();
  if (ceiling == nullptr) return 0;
  return best_rate(threads, kFmaBursts, kCallSteps * ceiling->step_flops,
                   [=] { return ceiling->dot_pairs(kCallSteps, 0.5f, 0.5f); });
}

double exp_elements(const Threads& threads) {
  alignas(64) static constexpr float kData[kExpData] = {};
  return best_rate(threads, kExpBursts, kCallExps, [] {
    float sum = 0;
    for (std::int64_t done = 0; done < kCallExps; done += kExpData)
      sum += kernels().exp2_sum(kData, kExpData);
    return sum;
  });
}

}  // namespace

double fma_flops_now() {
  constexpr std::int64_t kSteps = 8192;
  std::atomic<float> sink = 0;
  std::array<double, 9> seconds;  // the median of them: a scheduler slice may end in one
  for (double& burst : seconds)
    burst = seconds_of([&] { sink = kernels().multiply_add(kSteps, 0.5f, 0.5f); });
  std::ranges::nth_element(seconds, seconds.begin() + seconds.size() / 2);
  return kSteps * kernels().step_flops / seconds[seconds.size() / 2];
}

Ceilings larger(const Ceilings& a, const Ceilings& b) {
  return {std::max(a.fma_flops, b.fma_flops), std::max(a.exp_elements, b.exp_elements),
          std::max(a.read_bytes, b.read_bytes), std::max(a.dot_flops, b.dot_flops)};
}

CeilingMeter::CeilingMeter()
    : data_(static_cast<float*>(allocate_aligned(kReadFloats * sizeof(float))),
            [](float* data) { free_aligned(data); }) {}

Ceilings CeilingMeter::measure(const Threads& threads) const {
  return {fma_flops(threads), exp_elements(threads), read_bytes(threads), dot_flops(threads)};
}

double CeilingMeter::read_bytes(const Threads& threads) const {
  std::atomic<float> sink = 0;
  double best = 0;
  for (const int streams : {1, 2, 4}) {
    const std::int64_t unit = streams * kStreamFloats;
    const std::int64_t share = kReadFloats / threads.count() / unit * unit;
    const double seconds = seconds_of([&] {
      threads.run(threads.count(), [&](int worker) {
        sink = kernels().read(data_.get() + worker * share, share, streams);
      });
    });
    best = std::max(best, threads.count() * static_cast<double>(share) * sizeof(float) / seconds);
  }
  return best;
}

}  // namespace rapt::bench
