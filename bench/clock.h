#pragma once

#include "base/clock.h"

namespace rapt::bench {

// A repeat calls until this time has passed, so that one scheduler slice does not decide it.
inline constexpr double kRepeatSeconds = 0.1;

/// Seconds that f() takes on average over a repeat.
template <class F>
double seconds_of_repeat(F&& f) {
  int calls = 0;
  double seconds = 0;
  for (; seconds < kRepeatSeconds; ++calls) seconds += seconds_of(f);
  return seconds / calls;
}

}  // namespace rapt::bench
