#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bench/cases.h"
#include "bench/ceilings.h"

namespace rapt::bench {

/// The ceiling that a case could reach at best.
enum class Limit { kFma, kRead };

/// "fma", "read"
const char* name(Limit limit);

/// How near one call came to its ceiling.
struct Share {
  double share = 0;
  Limit limit = Limit::kFma;
};

/// Time that the ceilings would need for `work`, the slower of the two deciding, over `seconds`.
Share share_of(const Work& work, double seconds, const Ceilings& ceilings);

struct Measurement {
  std::string name;
  int threads = 1;
  Work work;           ///< of one call
  double seconds = 0;  ///< the same
  Share share;
  double clock = 0;  ///< FMA rate just after the fastest repeat, over the peak

  /// On several threads: (t1 / tN) over the same ratio of the times that the ceilings would need.
  std::optional<double> scaling;
};

/// A repeat: seconds of a call, and fma_flops_now() of one thread just after it.
struct Repeat {
  double seconds, fma_flops;
};

/// Takes a repeat with the ceilings `around` it into `m`, which keeps its fastest. Returns these
/// ceilings, the FMA peak at least as high as the repeat's own rate: what was reached can be.
Ceilings take_repeat(const Repeat& repeat, const Ceilings& around, Measurement& m);

/// Everything that one run of `rapt bench` found.
struct Measurements {
  std::vector<Ceilings> ceilings;  ///< the largest seen, of 1, 2, .. threads
  std::vector<Measurement> cases;  ///< each on one thread, then on all
};

/// Measures `cases` on one thread and on `threads`, `repeats` times each by turns, with the ceilings
/// of as many threads between all repeats, and of every count before each case.
/// The fastest repeat counts, over the larger of the ceilings before and after it.
///
/// @param  progress is told "ceilings" at first, then the name of a case before it starts.
/// @throws Error{kOutOfMemory} if the machine has too little for one of them.
Measurements measure(const std::vector<Case>& cases, const Threads& threads, int repeats,
                     const std::function<void(const std::string& name)>& progress);

}  // namespace rapt::bench
