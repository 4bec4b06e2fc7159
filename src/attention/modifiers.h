#pragma once

#include <cstdint>
#include <vector>

#include "rapt/problem.h"

namespace rapt {

/// @throws Error{kBadArgument} that names the first modifier out of range.
void check_modifiers(const ScoreModifiers& modifiers, std::int64_t q_heads);

/// The relative bias of distances pos_j - pos_i, one query head after the other. Where keys stand
/// at their slots it has every distance of the problem, and a row's biases are a contiguous piece of
/// it; where positions are given, distances beyond the last bucket's share its entry.
struct DistanceTable {
  std::int64_t lowest = 0, highest = -1;  ///< distances of the first and the last entry
  std::vector<float> bias;                ///< [Hq, highest - lowest + 1]

  /// Entries of head h from `distance` on.
  const float* at(std::int64_t h, std::int64_t distance) const {
    return bias.data() + h * (highest - lowest + 1) + distance - lowest;
  }
};

/// @cost O(Hq (Tq + Tk)), or O(Hq max_distance) where positions are given.
DistanceTable distance_table(const Problem& problem);

}  // namespace rapt
