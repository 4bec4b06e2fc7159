#include "rapt/head_roles.h"

#include <cmath>
#include <limits>

#include "base/check.h"

namespace rapt {
namespace {

constexpr double kLevel = 0.05;
constexpr double kNamedShare = 0.3;  // of what a score can be above chance
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Scores of a head for a role, of the texts that have any.
struct Observed {
  std::vector<double> scores, chances, excess;

  Observed(std::span<const HeadScores> texts, HeadRole role, HeadIndex head) {
    for (const HeadScores& text : texts) {
      const double score = text.score(role, head), chance = text.chance(role, head);
      if (std::isnan(score) || std::isnan(chance)) continue;
      scores.push_back(score);
      chances.push_back(chance);
      excess.push_back(score - chance);
    }
  }
};

/// Fills in q where there is p.
template <class Finding>
void correct(std::vector<Finding>& findings) {
  std::vector<double> p;
  for (const Finding& finding : findings)
    if (finding.p) p.push_back(*finding.p);
  const std::vector<double> q = benjamini_hochberg(p);
  std::size_t n = 0;
  for (Finding& finding : findings)
    if (finding.p) finding.q = q[n++];
}

void require_same_model(std::span<const HeadScores> texts, const HeadScores& first,
                        const char* where) {
  for (const HeadScores& text : texts)
    require(text.layers == first.layers && text.heads == first.heads, ErrorCode::kBadArgument,
            where,
            "scores of " + std::to_string(first.layers) + " layers and " +
                std::to_string(first.heads) + " heads",
            std::to_string(text.layers) + " and " + std::to_string(text.heads));
}

}  // namespace

HeadRoles find_head_roles(std::span<const HeadScores> texts) {
  require(!texts.empty(), ErrorCode::kBadArgument, "find_head_roles.texts", "at least one", "none");
  require_same_model(texts, texts[0], "find_head_roles.texts");
  const std::int64_t layers = texts[0].layers, heads = texts[0].heads;
  HeadRoles roles;
  roles.texts_needed = texts_needed(kHeadRoles * layers * heads, kLevel, Tail::kAbove);
  for (int role = 0; role < kHeadRoles; ++role)
    for (std::int64_t layer = 0; layer < layers; ++layer)
      for (std::int64_t head = 0; head < heads; ++head) {
        HeadFinding finding{{layer, head}, static_cast<HeadRole>(role)};
        const Observed seen(texts, finding.role, finding.head);
        finding.texts = std::ssize(seen.scores);
        finding.score = seen.scores.empty() ? kNaN : mean_of(seen.scores);
        finding.chance = seen.chances.empty() ? kNaN : mean_of(seen.chances);
        if (finding.texts >= roles.texts_needed) {
          finding.excess = bootstrap_mean_interval(seen.excess);
          finding.p = sign_flip_p(seen.excess, Tail::kAbove);
        }
        roles.findings.push_back(finding);
      }
  correct(roles.findings);
  for (HeadFinding& finding : roles.findings)
    finding.named = finding.q && *finding.q <= kLevel &&
                    finding.excess->low >= kNamedShare * (1 - finding.chance);
  return roles;
}

std::vector<ScoreChange> score_changes(std::span<const HeadScores> before,
                                       std::span<const HeadScores> after,
                                       std::span<const HeadFinding> which) {
  require(!before.empty() && before.size() == after.size(), ErrorCode::kBadArgument,
          "score_changes.after", std::to_string(before.size()) + " texts, as before", after.size());
  require_same_model(before, before[0], "score_changes.before");
  require_same_model(after, before[0], "score_changes.after");
  std::vector<ScoreChange> changes;
  for (const HeadFinding& finding : which) {
    ScoreChange change{finding.head, finding.role};
    const Observed first(before, change.role, change.head), then(after, change.role, change.head);
    require(first.scores.size() == then.scores.size(), ErrorCode::kBadArgument,
            "score_changes.after", "the same texts as before", "others");
    std::vector<double> differences;
    for (std::size_t n = 0; n < first.scores.size(); ++n)
      differences.push_back(then.scores[n] - first.scores[n]);
    change.before = first.scores.empty() ? kNaN : mean_of(first.scores);
    change.after = then.scores.empty() ? kNaN : mean_of(then.scores);
    if (std::ssize(differences) >= texts_needed(std::ssize(which), kLevel)) {
      change.change = bootstrap_mean_interval(differences);
      change.p = sign_flip_p(differences);
    }
    changes.push_back(change);
  }
  correct(changes);
  return changes;
}

}  // namespace rapt
