#pragma once

#include <cstdint>

namespace rapt {

/// The least n in [1, count] for which `fails(n)`, if failing once means failing from there on;
/// else one n that fails where n - 1 does not.
/// @pre  fails(count), and nothing has failed at 0.
/// @cost log2(count) calls.
template <class Fails>
std::int64_t first_failing(std::int64_t count, Fails&& fails) {
  std::int64_t good = 0, bad = count;
  while (bad - good > 1) {
    const std::int64_t middle = good + (bad - good) / 2;
    (fails(middle) ? bad : good) = middle;
  }
  return bad;
}

}  // namespace rapt
