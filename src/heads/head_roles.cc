#include "rapt/head_roles.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "base/check.h"
#include "heads/mean_interval.h"

namespace rapt {
namespace {

constexpr double kLevel = 0.05;
constexpr double kNamedShare = 0.3;  // of what a score can be above chance
constexpr double kBroadShare = 0.9;  // of the entropy of equal weights
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Scores of a head for a role, of the texts in which a row counts.
struct Observed {
  std::vector<double> scores, chances, excess;

  Observed(std::span<const HeadScores> texts, HeadRole role, HeadIndex head) {
    for (const HeadScores& text : texts) {
      if (text.rows_of(role, head) == 0) continue;
      const double score = text.score(role, head), chance = text.chance(role, head);
      require(std::isfinite(score - chance), ErrorCode::kBadArgument,
              "HeadScores[" + std::to_string(&text - texts.data()) + "]", "finite scores",
              "others for " + std::string(name(role)) + " of head " + to_string(head));
      scores.push_back(score);
      chances.push_back(chance);
      excess.push_back(score - chance);
    }
  }
};

/// Fills in q where there is p. Returns how many have p, and how many of those q <= kLevel.
template <class Finding>
std::pair<std::int64_t, std::int64_t> correct(std::span<Finding> findings) {
  std::vector<double> p;
  for (const Finding& finding : findings)
    if (finding.p) p.push_back(*finding.p);
  const std::vector<double> q = benjamini_hochberg(p);
  std::size_t n = 0;
  for (Finding& finding : findings)
    if (finding.p) finding.q = q[n++];
  return {std::ssize(q), std::ranges::count_if(q, [](double x) { return x <= kLevel; })};
}

/// Tests a role's findings, and names heads.
void conclude(std::span<const HeadScores> texts, std::span<HeadFinding> findings,
              std::int64_t texts_needed) {
  const bool broad = findings[0].role == HeadRole::kBroad;
  for (HeadFinding& finding : findings) {
    const Observed seen(texts, finding.role, finding.head);
    finding.texts = std::ssize(seen.scores);
    finding.score = seen.scores.empty() ? kNaN : mean_of(seen.scores);
    finding.chance = seen.chances.empty() ? kNaN : mean_of(seen.chances);
    if (finding.texts < texts_needed || finding.texts < 2) continue;
    finding.excess = student_interval(seen.excess, finding.level);
    if (!broad) finding.p = sign_flip_p(seen.excess, Tail::kAbove);
  }
  const auto [tests, rejected] = correct(findings);
  for (HeadFinding& finding : findings) {
    if (broad)
      finding.named = finding.excess && finding.chance + finding.excess->low >= kBroadShare;
    if (!finding.q || *finding.q > kLevel) continue;
    finding.level = 1 - kLevel * static_cast<double>(rejected) / static_cast<double>(tests);
    finding.excess =
        student_interval(Observed(texts, finding.role, finding.head).excess, finding.level);
    finding.named = finding.excess->low >= kNamedShare * (1 - finding.chance);
  }
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
  roles.texts_needed = texts_needed(layers * heads, kLevel, Tail::kAbove);
  for (int role = 0; role < kHeadRoles; ++role)
    for (std::int64_t layer = 0; layer < layers; ++layer)
      for (std::int64_t head = 0; head < heads; ++head)
        roles.findings.push_back({{layer, head}, static_cast<HeadRole>(role)});
  for (int role = 0; role < kHeadRoles; ++role)
    conclude(texts, std::span(roles.findings).subspan(role * layers * heads, layers * heads),
             roles.texts_needed);
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
      change.change = student_interval(differences, 1 - kLevel);
      change.p = sign_flip_p(differences);
    }
    changes.push_back(change);
  }
  correct(std::span(changes));
  return changes;
}

}  // namespace rapt
