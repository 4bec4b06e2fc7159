// Topic 4.4, what heads attend to: roles of the default model's heads on random tokens that are
// repeated, with intervals over texts; what taking heads away does to the loss and to other heads.

#include <rapt/evaluate.h>
#include <rapt/head_roles.h>
#include <rapt/session.h>

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

/// Nats that each text's tokens of the second half cost more without these heads.
std::vector<double> loss_changes(const rapt::Model& model, const std::vector<HeadIndex>& without) {
  rapt::EvaluationOptions options;
  std::vector<double> changes;
  const auto second_half = [&](const Tokens& tokens) {
    const rapt::Evaluation loss = evaluate(model, threads, kBeginning, tokens, options);
    return rapt::mean_of(std::span(loss.nats).last(kSpan - 1));
  };
  for (unsigned seed = 1; seed <= kTexts; ++seed) {
    options.interventions = {};
    const double before = second_half(text(seed));
    for (const HeadIndex head : without) options.interventions.gate(head, 0);
    changes.push_back(second_half(text(seed)) - before);
  }
  return changes;
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

/// Prints the changes; the mean over heads.
double print(const std::vector<rapt::ScoreChange>& changes) {
  std::vector<double> means;
  for (const rapt::ScoreChange& c : changes) {
    std::printf("%-16s %lld.%lld   %.2f -> %.2f   change [%+.2f, %+.2f]\n", name(c.role),
                static_cast<long long>(c.head.layer), static_cast<long long>(c.head.head), c.before,
                c.after, c.change->low, c.change->high);
    means.push_back(c.after - c.before);
  }
  return rapt::mean_of(means);
}

}  // namespace

int main() {
  example::Proof proof;
  const rapt::Model model = rapt::Model::load("models/default");
  const auto before = scores_of(model);
  const rapt::HeadRoles roles = find_head_roles(before);
  const auto previous = named(roles, HeadRole::kPreviousToken),
             induction = named(roles, HeadRole::kInduction);

  std::puts("Roles, with 95% intervals over the texts:");
  print(previous);
  print(induction);
  proof(!previous.empty() && !induction.empty(), "previous-token and induction heads are found");
  proof(rapt::find_head_roles(std::span(before).first(1)).texts_needed > 1 &&
            named(rapt::find_head_roles(std::span(before).first(1)), HeadRole::kInduction).empty(),
        "one text names no head: " + std::to_string(roles.texts_needed) + " are needed");

  std::puts("\nInduction without the previous-token heads:");
  const double fall = print(score_changes(before, scores_of(model, heads_of(previous)), induction));
  proof(fall < 0, "the induction heads look away");

  std::puts("\nThe same without as many other heads of the same layers:");
  std::vector<HeadIndex> controls;
  for (const HeadIndex head : heads_of(previous)) {
    HeadIndex other = head;
    do other.head = (other.head + 3) % model.config().num_attention_heads;
    while (std::ranges::count(heads_of(previous), other) + std::ranges::count(controls, other) > 0);
    controls.push_back(other);
  }
  const double control = print(score_changes(before, scores_of(model, controls), induction));
  proof(std::abs(control) < std::abs(fall), "others matter less");

  const std::vector<double> costs = loss_changes(model, heads_of(induction)),
                            others = loss_changes(model, controls);
  const rapt::Interval interval = rapt::bootstrap_mean_interval(costs);
  std::printf(
      "\nA repeated token costs %.2f nats more without the induction heads [%.2f, %.2f],\n"
      "%.2f without the control heads.\n",
      rapt::mean_of(costs), interval.low, interval.high, rapt::mean_of(others));
  proof(rapt::sign_flip_p(costs) < 0.01 && interval.low > 0, "copying needs the induction heads");
  return proof.exit_code();
}
