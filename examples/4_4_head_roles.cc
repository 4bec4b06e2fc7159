// Topic 4.4, what heads attend to: roles of the default model's heads on random tokens that are
// repeated, with intervals over texts; what taking heads away does to the loss and to other heads.

#include <rapt/evaluate.h>
#include <rapt/head_roles.h>
#include <rapt/session.h>

#include <algorithm>
#include <cmath>

#include "example.h"

namespace {

using rapt::HeadFinding, rapt::HeadIndex, rapt::HeadRole;
using Tokens = std::vector<std::int32_t>;

constexpr int kTexts = 16;  // of 24 random tokens, twice: nothing but copying helps
constexpr std::int64_t kSpan = 24;
const Tokens kBeginning = {0};  // the model's BOS

const rapt::Threads threads(1);

Tokens text(unsigned seed) {
  std::mt19937 engine(seed);
  Tokens tokens;
  for (int n = 0; n < kSpan; ++n) tokens.push_back(static_cast<std::int32_t>(1 + engine() % 2047));
  tokens.insert(tokens.end(), tokens.begin(), tokens.begin() + kSpan);
  return tokens;
}

std::vector<rapt::HeadScores> scores_of(const rapt::Model& model,
                                        const std::vector<HeadIndex>& without = {}) {
  rapt::HeadScoreOptions options;
  for (const HeadIndex head : without) options.interventions.gate(head, 0);
  std::vector<rapt::HeadScores> scores;
  for (unsigned seed = 1; seed <= kTexts; ++seed)
    scores.push_back(head_scores(model, threads, kBeginning, text(seed), options));
  return scores;
}

/// What each text's tokens cost in nats without these heads: those that are new, those that repeat.
struct Losses {
  std::vector<double> fresh, repeated;
};

Losses losses_of(const rapt::Model& model, const std::vector<HeadIndex>& without = {}) {
  rapt::EvaluationOptions options;
  for (const HeadIndex head : without) options.interventions.gate(head, 0);
  Losses losses;
  for (unsigned seed = 1; seed <= kTexts; ++seed) {
    const rapt::Evaluation loss = evaluate(model, threads, kBeginning, text(seed), options);
    losses.fresh.push_back(rapt::mean_of(std::span(loss.nats).first(kSpan)));
    losses.repeated.push_back(rapt::mean_of(std::span(loss.nats).last(kSpan - 1)));
  }
  return losses;
}

std::vector<double> differences(std::vector<double> a, const std::vector<double>& b) {
  for (std::size_t n = 0; n < a.size(); ++n) a[n] -= b[n];
  return a;
}

std::vector<HeadFinding> named(const rapt::HeadRoles& roles, HeadRole role) {
  std::vector<HeadFinding> found;
  for (const HeadFinding& finding : roles.findings)
    if (finding.named && finding.role == role) found.push_back(finding);
  return found;
}

std::vector<HeadIndex> heads_of(const std::vector<HeadFinding>& findings) {
  std::vector<HeadIndex> heads;
  for (const HeadFinding& finding : findings) heads.push_back(finding.head);
  return heads;
}

void print(const std::vector<HeadFinding>& findings) {
  for (const HeadFinding& f : findings)
    std::printf("%-16s %lld.%lld   %.2f [%.2f, %.2f]   chance %.2f\n", name(f.role),
                static_cast<long long>(f.head.layer), static_cast<long long>(f.head.head), f.score,
                f.chance + f.excess->low, f.chance + f.excess->high, f.chance);
}

/// What taking heads away did to others, at the ends of their intervals.
struct Extent {
  double highest, farthest;
};

Extent print(const std::vector<rapt::ScoreChange>& changes) {
  Extent extent{-1, 0};
  for (const rapt::ScoreChange& c : changes) {
    std::printf("%-16s %lld.%lld   %.2f -> %.2f   change [%+.2f, %+.2f]\n", name(c.role),
                static_cast<long long>(c.head.layer), static_cast<long long>(c.head.head), c.before,
                c.after, c.change->low, c.change->high);
    extent.highest = std::max(extent.highest, c.change->high);
    extent.farthest =
        std::max({extent.farthest, std::abs(c.change->low), std::abs(c.change->high)});
  }
  return extent;
}

}  // namespace

int main() {
  example::Proof proof;
  const rapt::Model model = rapt::Model::load("models/default");
  const auto before = scores_of(model);
  const rapt::HeadRoles roles = find_head_roles(before);
  const auto previous = named(roles, HeadRole::kPreviousToken),
             induction = named(roles, HeadRole::kInduction);

  std::puts("Roles, with intervals over the texts:");
  print(previous);
  print(induction);
  proof(!previous.empty() && !induction.empty(), "previous-token and induction heads are found");
  proof(rapt::find_head_roles(std::span(before).first(1)).texts_needed > 1 &&
            named(rapt::find_head_roles(std::span(before).first(1)), HeadRole::kInduction).empty(),
        "one text names no head: " + std::to_string(roles.texts_needed) + " are needed");

  std::puts("\nInduction without the previous-token heads:");
  const Extent fall = print(score_changes(before, scores_of(model, heads_of(previous)), induction));
  proof(fall.highest < -0.5, "the induction heads look away");

  std::puts("\nThe same without as many other heads of the same layers:");
  std::vector<HeadIndex> controls;
  for (const HeadIndex head : heads_of(previous)) {
    HeadIndex other = head;
    do other.head = (other.head + 3) % model.config().num_attention_heads;
    while (std::ranges::count(heads_of(previous), other) + std::ranges::count(controls, other) > 0);
    controls.push_back(other);
  }
  const Extent control = print(score_changes(before, scores_of(model, controls), induction));
  proof(control.farthest < 0.1, "others hardly matter");

  const Losses whole = losses_of(model), without = losses_of(model, heads_of(induction));
  const std::vector<double> costs = differences(without.repeated, whole.repeated),
                            others =
                                differences(losses_of(model, controls).repeated, whole.repeated);
  const rapt::Interval interval = rapt::bootstrap_mean_interval(costs);
  std::printf(
      "\nA repeated token costs %.2f nats, a new one %.2f. Without the induction heads the "
      "repeated\n"
      "one costs %.2f, %.2f more [%.2f, %.2f]; without the control heads %.2f more.\n",
      rapt::mean_of(whole.repeated), rapt::mean_of(whole.fresh), rapt::mean_of(without.repeated),
      rapt::mean_of(costs), interval.low, interval.high, rapt::mean_of(others));
  proof(rapt::sign_flip_p(costs) < 0.01 && interval.low > 0, "copying needs the induction heads");
  return proof.exit_code();
}
