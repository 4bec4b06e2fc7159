#pragma once

#include <chrono>

namespace rapt::bench {

/// Seconds that f() takes.
template <class F>
double seconds_of(F&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

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
