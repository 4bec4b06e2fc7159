#include "bench/measure.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "bench/clock.h"
#include "bench/prepare.h"

namespace rapt::bench {

const char* name(Limit limit) { return limit == Limit::kFma ? "fma" : "read"; }

Share share_of(const Work& work, double seconds, const Ceilings& ceilings) {
  const double fma_seconds = work.flops / ceilings.product_flops(work.pairs),
               read_seconds = work.bytes / ceilings.read_bytes;
  return {std::max(fma_seconds, read_seconds) / seconds,
          fma_seconds >= read_seconds ? Limit::kFma : Limit::kRead};
}

Ceilings take_repeat(const Repeat& repeat, const Ceilings& around, Measurement& m) {
  Ceilings raised = around;
  double& flops = m.work.pairs && around.dot_flops > 0 ? raised.dot_flops : raised.fma_flops;
  flops = std::max(flops, m.work.flops / repeat.seconds);
  if (repeat.seconds < m.seconds) {
    m.seconds = repeat.seconds;
    m.share = share_of(m.work, repeat.seconds, raised);
    m.clock = m.threads * repeat.fma_flops / raised.fma_flops;
  }
  return raised;
}

namespace {

// A case on some threads.
struct Series {
  std::function<void()> call;
  Measurement best;
};

class Measuring {
 public:
  explicit Measuring(const Threads& threads) {
    for (int n = 1; n < threads.count(); ++n) threads_.emplace_back(n);
    threads_.push_back(threads);
    for (const Threads& t : threads_) latest_.push_back(meter_.measure(t));
    found_.ceilings = latest_;
  }

  void measure(const Case& c, int repeats) {
    std::vector<Series> all = prepared(c);
    for (std::size_t n = 0; n < threads_.size(); ++n) renew_ceilings(n);
    for (int repeat = 0; repeat < repeats; ++repeat)
      for (Series& series : all) measure_once(series);
    for (Series& series : all) {
      if (series.best.threads > 1)
        series.best.scaling = series.best.share.share / all.front().best.share.share;
      found_.cases.push_back(series.best);
    }
  }

  const Measurements& found() const { return found_; }

 private:
  std::vector<Series> prepared(const Case& c) const {
    std::vector<Threads> threads = {threads_.front()};
    if (threads_.size() > 1) threads.push_back(threads_.back());
    const auto calls = prepare(c, threads);
    std::vector<Series> all;
    for (std::size_t n = 0; n < calls.size(); ++n) {
      calls[n]();  // grows the working memory
      constexpr double kNever = std::numeric_limits<double>::infinity();
      all.push_back({calls[n], {c.name, threads[n].count(), c.work(), kNever, {}, 0, {}}});
    }
    return all;
  }

  void measure_once(Series& series) {
    const std::size_t n = series.best.threads - 1;
    const double seconds = seconds_of_repeat(series.call);
    const Repeat repeat{seconds, fma_flops_now()};
    keep(n, take_repeat(repeat, renew_ceilings(n), series.best));
  }

  // Measures those of n + 1 threads. Returns the larger of these and of the latest before.
  Ceilings renew_ceilings(std::size_t n) {
    const Ceilings before = std::exchange(latest_[n], meter_.measure(threads_[n]));
    keep(n, latest_[n]);
    return larger(before, latest_[n]);
  }

  void keep(std::size_t n, const Ceilings& seen) {
    found_.ceilings[n] = larger(found_.ceilings[n], seen);
  }

  CeilingMeter meter_;
  std::vector<Threads> threads_;  // 1, 2, .. of them
  std::vector<Ceilings> latest_;  // of each
  Measurements found_;
};

}  // namespace

Measurements measure(const std::vector<Case>& cases, const Threads& threads, int repeats,
                     const std::function<void(const std::string&)>& progress) {
  for (const Case& c : cases) require_memory(c);
  progress("ceilings");
  Measuring measuring(threads);
  for (const Case& c : cases) {
    progress(c.name);
    measuring.measure(c, repeats);
  }
  return measuring.found();
}

}  // namespace rapt::bench
