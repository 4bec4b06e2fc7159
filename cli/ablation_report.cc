#include "cli/ablation_report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cli/output.h"
#include "cli/report_parts.h"
#include "rapt/statistics.h"

namespace rapt::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kLevel = 0.05;   // of false findings among all, at most
constexpr double kUnused = 0.01;  // nats a token that nobody would miss

/// What ablating a unit did to the texts.
struct Effect {
  const AblationUnit* unit = nullptr;
  std::vector<double> texts;         // nats a token, more than without
  std::vector<double> sizes;         // their absolute values
  double mean = 0, size = 0;         // of them, and of their absolute values
  std::optional<Interval> interval;  // of the mean; of the size where gates were moved
  std::optional<double> p, q;
  std::vector<double> controls;  // means
};

/// All that the figures say.
struct Findings {
  std::vector<Effect> effects;  // of units that are no controls, in their order
  std::int64_t texts_needed = 0;
  bool enough = false;
  std::optional<double> split_half;
};

Effect effect_of(const AblationPlan& plan, const std::vector<TextLosses>& losses, std::size_t n) {
  Effect effect;
  effect.unit = &plan.units[n];
  for (const TextLosses& text : losses) {
    const double from = plan.method == AblationMethod::kGate ? 0 : *text.plain;
    effect.texts.push_back((*text.units[n] - from) / static_cast<double>(text.tokens));
    effect.sizes.push_back(std::abs(effect.texts.back()));
  }
  effect.mean = mean_of(effect.texts);
  effect.size = mean_of(effect.sizes);
  if (effect.texts.size() >= 2)
    effect.interval =
        bootstrap_mean_interval(plan.method == AblationMethod::kGate ? effect.sizes : effect.texts);
  return effect;
}

Findings findings_of(const AblationPlan& plan, const std::vector<TextLosses>& losses) {
  Findings findings;
  for (std::size_t n = 0; n < plan.units.size(); ++n) {
    Effect effect = effect_of(plan, losses, n);
    if (plan.units[n].control_of < 0)
      findings.effects.push_back(std::move(effect));
    else
      findings.effects[plan.units[n].control_of].controls.push_back(effect.mean);
  }
  findings.texts_needed = texts_needed(std::ssize(findings.effects), kLevel);
  findings.enough = std::ssize(losses) >= findings.texts_needed;
  if (!findings.enough) {
    for (Effect& effect : findings.effects) effect.interval.reset();
    return findings;
  }
  std::vector<double> p;
  std::vector<std::vector<double>> rows;
  for (Effect& effect : findings.effects) {
    p.push_back(sign_flip_p(effect.texts));
    rows.push_back(plan.method == AblationMethod::kGate ? effect.sizes : effect.texts);
  }
  const std::vector<double> q = benjamini_hochberg(p);
  for (std::size_t n = 0; n < p.size(); ++n) {
    findings.effects[n].p = p[n];
    findings.effects[n].q = q[n];
  }
  if (rows.size() < 3) return findings;
  const double correlation = split_half_correlation(rows);
  if (!std::isnan(correlation)) findings.split_half = correlation;
  return findings;
}

/// The share of sets as far from 0 as this one, itself included.
double control_p(const Effect& effect) {
  const auto far = std::ranges::count_if(
      effect.controls, [&](double mean) { return std::abs(mean) >= std::abs(effect.mean); });
  return static_cast<double>(1 + far) / static_cast<double>(1 + effect.controls.size());
}

std::vector<std::string> caveats_of(const AblationPlan& plan) {
  std::vector<std::string> caveats = {
      "Other heads may repair what is taken away (McGrath et al. 2023): a small change is no "
      "proof\n"
      "that a head does little."};
  if (plan.method == AblationMethod::kZero)
    caveats.push_back(
        "Zeros are off the distribution that the model was trained on: part of a change may be "
        "theirs.\n"
        "--method mean and resample are nearer to it.");
  if (plan.method == AblationMethod::kGate)
    caveats.push_back(
        "A derivative says what a little less of a head does, not what none of it does. The "
        "interval is\nthat of the importance; q is the derivative's.");
  if (plan.groups)
    caveats.push_back(
        "A group's outputs are changed, its keys and values are not: to remove those is another\n"
        "experiment.");
  return caveats;
}

/// Whether taking it away changes the loss by little, for sure: not merely by nothing that shows.
bool is_unused(const Effect& effect) {
  return effect.interval && effect.interval->low >= -kUnused && effect.interval->high <= kUnused;
}

Json to_json(const Effect& effect, const AblationPlan& plan, bool enough) {
  Json heads = Json::array();
  for (const HeadIndex head : effect.unit->heads) heads.push_back({head.layer, head.head});
  Json object = {{"unit", effect.unit->name}, {"heads", heads}, {"nats_per_token", effect.mean}};
  if (plan.method == AblationMethod::kGate) object["importance"] = effect.size;
  object[plan.method == AblationMethod::kGate ? "importance_95" : "nats_per_token_95"] =
      optional_json(effect.interval);
  object["p"] = optional_json(effect.p);
  object["q"] = optional_json(effect.q);
  if (plan.method != AblationMethod::kGate)
    object["unused"] = enough ? Json(is_unused(effect)) : Json();
  object["texts"] = effect.texts;
  if (!effect.controls.empty())
    object["controls"] = {{"nats_per_token", effect.controls},
                          {"p", enough ? Json(control_p(effect)) : Json()}};
  return object;
}

std::string to_json(const std::string& model, const AblationPlan& plan,
                    const std::vector<TextLosses>& losses, const Findings& findings,
                    double seconds) {
  Json texts = Json::array(), units = Json::array();
  for (std::size_t n = 0; n < losses.size(); ++n)
    texts.push_back({{"file", plan.texts[n].file},
                     {"tokens", losses[n].tokens},
                     {"nats_per_token", *losses[n].plain / static_cast<double>(losses[n].tokens)}});
  for (const Effect& effect : findings.effects)
    units.push_back(to_json(effect, plan, findings.enough));
  return json_text({{"model", model},
                    {"method", name(plan.method)},
                    {"context", plan.context},
                    {"seconds", seconds},
                    {"texts", texts},
                    {"texts_needed", findings.texts_needed},
                    {"concludes", findings.enough},
                    {"units", units},
                    {"split_half", optional_json(findings.split_half)},
                    {"caveats", caveats_of(plan)}},
                   2);
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

std::string verdict(const Effect& effect, bool gates) {
  if (!effect.q) return "";
  if (!gates && is_unused(effect)) return formatted("unused: within %.2f", kUnused);
  if (*effect.q > kLevel) return "";
  if (gates) return effect.mean < 0 ? "more of it would help" : "less of it would help";
  return effect.mean > 0 ? "the loss rises" : "the loss falls";
}

std::string to_line(const Effect& effect, bool gates, std::size_t width) {
  std::string line = padded(effect.unit->name, width) + formatted(" %+10.5f", effect.mean);
  if (gates) line += formatted(" %10.5f", effect.size);
  line += "  ";
  const std::string interval = effect.interval
                                   ? formatted(gates ? "%.5f to %.5f" : "%+.5f to %+.5f",
                                               effect.interval->low, effect.interval->high)
                                   : "";
  line += padded(interval, 20);
  if (effect.q) line += formatted(" %9.2g  ", *effect.q) + verdict(effect, gates);
  line.erase(line.find_last_not_of(' ') + 1);
  line += "\n";
  if (effect.controls.empty()) return line;
  const auto [least, most] = std::ranges::minmax_element(effect.controls);
  line += formatted("  %zu sets of as many random heads: %+.5f to %+.5f", effect.controls.size(),
                    *least, *most);
  return line + (effect.q ? formatted(", p %.2g\n", control_p(effect)) : "\n");
}

std::string conclusion(std::size_t texts, const Findings& findings) {
  if (!findings.enough)
    return "No conclusion: " + std::to_string(texts) + (texts == 1 ? " text was" : " texts were") +
           " given, and " + std::to_string(findings.texts_needed) + " are needed to tell one of " +
           std::to_string(findings.effects.size()) + " from chance.\n";
  const auto found = std::ranges::count_if(
      findings.effects, [](const Effect& effect) { return *effect.q <= kLevel; });
  std::string text = std::to_string(found) + " of " + std::to_string(findings.effects.size()) +
                     " differ from none at a false discovery rate of 5%.\n";
  if (findings.split_half)
    text += formatted("Rank correlation of two halves of the texts: %.2f.\n", *findings.split_half);
  return text;
}

std::string to_table(const std::string& model, const AblationPlan& plan,
                     const std::vector<TextLosses>& losses, const Findings& findings) {
  const bool gates = plan.method == AblationMethod::kGate;
  std::int64_t tokens = 0;
  double nats = 0;
  for (const TextLosses& text : losses) {
    tokens += text.tokens;
    nats += *text.plain;
  }
  std::size_t width = 4;
  for (const Effect& effect : findings.effects) width = std::max(width, effect.unit->name.size());
  std::string table = "model    " + model + "\nmethod   " + name(plan.method) + "\ntexts    " +
                      std::to_string(losses.size()) +
                      formatted(", %lld tokens scored, %.4f nats/token, windows of %lld\n\n",
                                static_cast<long long>(tokens), nats / static_cast<double>(tokens),
                                static_cast<long long>(plan.context));
  table += padded("unit", width) + (gates ? " derivative importance" : " nats/token") +
           (findings.enough ? "  95% interval                 q" : "") + "\n";
  std::vector<const Effect*> sorted;
  for (const Effect& effect : findings.effects) sorted.push_back(&effect);
  std::ranges::stable_sort(sorted, std::ranges::greater(), [&](const Effect* effect) {
    return gates ? effect->size : effect->mean;
  });
  for (const Effect* effect : sorted) table += to_line(*effect, gates, width);
  table += "\n" + conclusion(losses.size(), findings);
  for (const std::string& caveat : caveats_of(plan)) table += "\n" + caveat + "\n";
  return table;
}

}  // namespace

void report_ablation(const std::string& model, const AblationPlan& plan,
                     const std::vector<TextLosses>& losses, double seconds, bool json) {
  const Findings findings = findings_of(plan, losses);
  print(json ? to_json(model, plan, losses, findings, seconds)
             : to_table(model, plan, losses, findings));
}

}  // namespace rapt::cli
