#pragma once

#include <functional>
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
  double seconds = 0;  ///< of one call
  Share share;
};

/// Everything that one run of `rapt bench` found.
struct Measurements {
  int threads = 1;
  Ceilings ceilings;  ///< the largest seen
  std::vector<Measurement> cases;
};

/// Measures `cases`, each `repeats` times with the ceilings taken before and after every repeat.
/// The fastest repeat counts, over the larger of its two ceilings.
///
/// @param  progress is told the name of a case before it starts.
/// @throws Error{kOutOfMemory} if the machine has too little for one of them.
Measurements measure(const std::vector<Case>& cases, const Threads& threads, int repeats,
                     const std::function<void(const std::string& name)>& progress);

}  // namespace rapt::bench
