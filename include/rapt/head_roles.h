#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "rapt/head_scores.h"
#include "rapt/statistics.h"

namespace rapt {

/// A head's score for a role over several texts.
struct HeadFinding {
  HeadIndex head;
  HeadRole role{};
  std::int64_t texts = 0;                         ///< those that have such keys
  double score = 0, chance = 0;                   ///< means over them; NaN of none
  std::optional<Interval> excess = std::nullopt;  ///< of the mean of score - chance, at `level`
  double level = 0.95;                            ///< of the interval
  std::optional<double> p = std::nullopt,
                        q = std::nullopt;  ///< that it is above 0: sign_flip_p, benjamini_hochberg
  bool named = false;                      ///< whether the head has this role
};

/// What texts say of all heads and roles.
struct HeadRoles {
  std::vector<HeadFinding> findings;  ///< by role, layer and head
  std::int64_t texts_needed = 0;      ///< of each role, to tell one finding from chance
};

/// Weighs the scores of several texts: each text is one observation.
///
/// Each role is a family of m = L Hq tests. A head has a role if
///
///     q <= 0.05    and    low end of the excess >= 0.3 (1 - chance)
///
/// The first holds false names of a role to 5% on average. The interval is Student's, at 0.95;
/// where q <= 0.05, which R heads of the role are, at 1 - 0.05 R / m, for it is shown of heads that
/// were chosen by the same texts. The second keeps what is certain but small from being a role; 0.3
/// is a choice.
///
/// kBroad is described, not tested: nothing is broader than no preferences. A head is broad if the
/// low end of its score is at least 0.9. A role that fewer texts than needed have gives no name.
/// @source Benjamini & Yekutieli 2005 (intervals of what was chosen)
/// @throws Error{kBadArgument} if there is no text, they are of different models, or a score of
///         rows that count is not finite.
HeadRoles find_head_roles(std::span<const HeadScores> texts);

/// How an intervention changes a head's score for a role: over texts, with less without.
struct ScoreChange {
  HeadIndex head;
  HeadRole role{};
  double before = 0, after = 0;                   ///< means
  std::optional<Interval> change = std::nullopt;  ///< 95% interval of the mean of after - before
  std::optional<double> p = std::nullopt,
                        q = std::nullopt;  ///< that it is not 0; q over all that were asked for
};

/// The changes of these heads' scores between two runs on the same texts: what a removed head does
/// to others, for one. Of heads that the same texts named, the scores before are too large by what
/// chance added, and fall somewhat on any other texts: choose heads by some texts and ask of
/// others.
/// @param  which  head and role of each
/// @throws Error{kBadArgument} if `before` and `after` are not of the same texts and model.
std::vector<ScoreChange> score_changes(std::span<const HeadScores> before,
                                       std::span<const HeadScores> after,
                                       std::span<const HeadFinding> which);

}  // namespace rapt
