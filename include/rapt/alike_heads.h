#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rapt/head_scores.h"
#include "rapt/statistics.h"

namespace rapt {

/// Heads of one layer, each of which attends like another of them. They are redundant as far as
/// weights go; what they read and write, V and W_O, may differ.
struct HeadCluster {
  std::vector<HeadIndex> heads;  ///< two or more, in order
  double similarity = 0;         ///< sum sqrt(A B) of the two that are least alike, mean over texts
  Interval interval{};           ///< of that mean, at 1 - 0.05 / pairs

  /// What those two would have were their weights equal on all but the window's first token, whose
  /// share s is each head's own: sqrt(s_a s_b) + sqrt((1 - s_a) (1 - s_b)). Sinks and no
  /// preferences explain as much.
  double explained = 0;
};

/// What texts say of pairs of heads.
struct AlikeHeads {
  std::vector<HeadCluster> clusters;  ///< by layer
  std::int64_t texts_needed = 0;      ///< to tell one pair
};

/// Heads that attend alike. Two of a layer are alike if the low end of Student's interval of their
/// similarity is at least 0.9, at 1 - 0.05 / pairs (Bonferroni), pairs those of all layers; a
/// cluster is what such pairs connect. With fewer texts than needed there are no clusters.
/// @throws Error{kBadArgument} if there is no text, they are of different models, or without
///         similarities.
AlikeHeads find_alike_heads(std::span<const HeadScores> texts);

}  // namespace rapt
