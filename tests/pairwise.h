#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "util.h"

namespace rapt::test {

/// Rows of levels, one for each axis, such that every feasible pair of levels of any two axes meets
/// in at least one row.
///
/// @pre  level 0 of an axis is its cheapest: a feasible row stays feasible when any of its levels
///       is replaced by 0. A pair that no feasible row holds is left out.
/// @source greedy, after AETG: Cohen, Dalal, Fredman, Patton, IEEE TSE 23(7), 1997.
inline std::vector<std::vector<int>> covering_rows(
    const std::vector<int>& levels, const std::function<bool(const std::vector<int>&)>& feasible) {
  const int axes = static_cast<int>(levels.size());
  constexpr int kLevels = 32;  // at most, of one axis
  std::vector<bool> covered(axes * axes * kLevels * kLevels, false);
  const auto pair = [&](int a, int x, int b, int y) {
    return ((a * axes + b) * kLevels + x) * kLevels + y;
  };
  std::vector<std::vector<int>> rows;
  Rng rng(1);

  // Sets the axes of `row` that are -1, each to the feasible level that covers most new pairs.
  const auto complete = [&](std::vector<int> row) {
    const int start = static_cast<int>(rng.below(axes));
    for (int n = 0; n < axes; ++n) {
      const int axis = (start + n) % axes;
      if (row[axis] >= 0) continue;
      int best = 0, best_gain = -1;
      const int first = static_cast<int>(rng.below(levels[axis]));
      for (int x = 0; x < levels[axis]; ++x) {
        const int level = (first + x) % levels[axis];
        std::vector<int> tried = row;
        tried[axis] = level;
        int gain = 0;
        for (int other = 0; other < axes; ++other)
          if (row[other] >= 0) gain += !covered[pair(axis, level, other, row[other])];
        for (int& l : tried)
          if (l < 0) l = 0;
        if (gain > best_gain && feasible(tried)) best = level, best_gain = gain;
      }
      row[axis] = best;
    }
    return row;
  };

  for (int a = 0; a < axes; ++a)
    for (int b = a + 1; b < axes; ++b)
      for (int x = 0; x < levels[a]; ++x)
        for (int y = 0; y < levels[b]; ++y) {
          if (covered[pair(a, x, b, y)]) continue;
          std::vector<int> cheapest(axes, 0), row(axes, -1);
          cheapest[a] = row[a] = x;
          cheapest[b] = row[b] = y;
          if (!feasible(cheapest)) continue;
          rows.push_back(complete(row));
          for (int c = 0; c < axes; ++c)
            for (int d = 0; d < axes; ++d)
              covered[pair(c, rows.back()[c], d, rows.back()[d])] = true;
        }
  return rows;
}

}  // namespace rapt::test
