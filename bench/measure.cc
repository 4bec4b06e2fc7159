#include "bench/measure.h"

#include <algorithm>
#include <limits>

#include "bench/clock.h"
#include "bench/prepare.h"

namespace rapt::bench {

const char* name(Limit limit) { return limit == Limit::kFma ? "fma" : "read"; }

Share share_of(const Work& work, double seconds, const Ceilings& ceilings) {
  const double fma_seconds = work.flops / ceilings.fma_flops,
               read_seconds = work.bytes / ceilings.read_bytes;
  return {std::max(fma_seconds, read_seconds) / seconds,
          fma_seconds >= read_seconds ? Limit::kFma : Limit::kRead};
}

Measurements measure(const std::vector<Case>& cases, const Threads& threads, int repeats,
                     const std::function<void(const std::string&)>& progress) {
  Measurements all{threads.count(), {}, {}};
  for (const Case& c : cases) require_memory(c);
  const CeilingMeter meter(threads);
  for (const Case& c : cases) {
    progress(c.name);
    const auto call = prepare(c, threads);
    call();  // grows the working memory
    Measurement best{c.name, threads.count(), std::numeric_limits<double>::infinity(), {}};
    Ceilings before = meter.measure();
    for (int repeat = 0; repeat < repeats; ++repeat) {
      const double seconds = seconds_of_repeat(call);
      const Ceilings after = meter.measure(), around = larger(before, after);
      if (seconds < best.seconds) {
        best.seconds = seconds;
        best.share = share_of(c.work(), seconds, around);
      }
      all.ceilings = larger(all.ceilings, around);
      before = after;
    }
    all.cases.push_back(best);
  }
  return all;
}

}  // namespace rapt::bench
