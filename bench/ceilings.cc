#include "bench/ceilings.h"

#include <algorithm>
#include <atomic>

#include "base/memory.h"
#include "bench/clock.h"
#include "kernels/ceilings/ceilings.h"

namespace rapt::bench {
namespace {

// Bursts as long as a repeat of a case: what disturbs the one disturbs the other.
constexpr int kBursts = 3;
constexpr std::int64_t kCallSteps = 100'000;

const CeilingKernels& kernels() { return entry_for(ceilings_table(), active_isa()); }

}  // namespace

Ceilings larger(const Ceilings& a, const Ceilings& b) {
  return {std::max(a.fma_flops, b.fma_flops), std::max(a.read_bytes, b.read_bytes)};
}

CeilingMeter::CeilingMeter(const Threads& threads)
    : threads_(threads),
      data_(static_cast<float*>(allocate_aligned(kReadFloats * sizeof(float))),
            [](float* data) { free_aligned(data); }) {}

Ceilings CeilingMeter::measure() const { return {fma_flops(), read_bytes()}; }

double CeilingMeter::fma_flops() const {
  std::atomic<float> sink = 0;  // results that are used cannot be optimised away
  double best = 0;
  for (int burst = 0; burst < kBursts; ++burst) {
    const double seconds = seconds_of_repeat([&] {
      threads_.run(threads_.count(),
                   [&](int) { sink = kernels().multiply_add(kCallSteps, 0.5f, 0.5f); });
    });
    best = std::max(best, threads_.count() * kCallSteps * kernels().step_flops / seconds);
  }
  return best;
}

double CeilingMeter::read_bytes() const {
  std::atomic<float> sink = 0;
  double best = 0;
  for (const int streams : {1, 2, 4}) {
    const std::int64_t unit = streams * kStreamFloats;
    const std::int64_t share = kReadFloats / threads_.count() / unit * unit;
    const double seconds = seconds_of([&] {
      threads_.run(threads_.count(), [&](int worker) {
        sink = kernels().read(data_.get() + worker * share, share, streams);
      });
    });
    best = std::max(best, threads_.count() * static_cast<double>(share) * sizeof(float) / seconds);
  }
  return best;
}

}  // namespace rapt::bench
