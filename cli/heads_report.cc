#include "cli/heads_report.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "cli/ablation.h"
#include "cli/output.h"
#include "cli/report_parts.h"
#include "rapt/alike_heads.h"

namespace rapt::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kRoleLetters = "pdisLbSB";  // in the order of HeadRole

const std::vector<std::string> kCaveats = {
    "A role is where weights lie on these texts. It is no proof that the model uses the head so, "
    "and a\n"
    "weight explains no output (Jain & Wallace 2019; Wiegreffe & Pinter 2019).",
    "Chance is equal weights on all that a head sees. A head that merely prefers some distances is "
    "above\n"
    "it for every role whose keys mostly lie there: previous token and local surely, duplicate "
    "token,\n"
    "induction, bracket and sentence start where texts repeat, nest or begin anew at such "
    "distances.\n"
    "For those, compare with texts in which the keys lie elsewhere.",
    "The map has a head's strongest role, local and broad only where it has no other."};
const std::string kChosenCaveat =
    "Heads were chosen and measured on the same texts: what chance added to their scores falls on "
    "any\n"
    "others. Name heads by some texts, and see what happens to them on others.";
const std::string kRepairCaveat =
    "Other heads may repair what is taken away (McGrath et al. 2023), and zeros are off the\n"
    "distribution that the model was trained on.";

std::vector<std::string> caveats_of(const HeadsRun& run) {
  std::vector<std::string> caveats = kCaveats;
  if (!run.after.empty()) caveats.insert(caveats.end(), {kRepairCaveat, kChosenCaveat});
  return caveats;
}

/// Of what a score can be above chance; of broad, which cannot, the score.
double strength(const HeadFinding& finding) {
  if (finding.role == HeadRole::kBroad) return finding.score;
  return (finding.score - finding.chance) / (1 - finding.chance);
}

std::vector<HeadFinding> named(const HeadRoles& roles) {
  std::vector<HeadFinding> found;
  std::ranges::copy_if(roles.findings, std::back_inserter(found), &HeadFinding::named);
  std::ranges::stable_sort(found, std::ranges::greater(), strength);
  std::ranges::stable_sort(found, {}, &HeadFinding::role);
  return found;
}

/// Roles that say where a head looks and not what for.
bool is_general(HeadRole role) { return role == HeadRole::kLocal || role == HeadRole::kBroad; }

/// The letter of the head's strongest role, a general one only where it has no other.
char letter_of(const std::vector<HeadFinding>& found, HeadIndex head) {
  const HeadFinding* best = nullptr;
  const auto rank = [](const HeadFinding& f) {
    return std::pair(!is_general(f.role), strength(f));
  };
  for (const HeadFinding& finding : found)
    if (finding.head == head && (best == nullptr || rank(finding) > rank(*best))) best = &finding;
  return best == nullptr ? '.' : kRoleLetters[static_cast<int>(best->role)];
}

double mean_entropy(const std::vector<HeadScores>& texts, std::int64_t layer, std::int64_t head) {
  double sum = 0;
  for (const HeadScores& text : texts) sum += text.entropy[layer * text.heads + head];
  return sum / static_cast<double>(texts.size());
}

double mean_similarity(const std::vector<HeadScores>& texts, std::int64_t layer, std::int64_t a,
                       std::int64_t b) {
  double sum = 0;
  for (const HeadScores& text : texts)
    sum += text.similarity[(layer * text.heads + a) * text.heads + b];
  return sum / static_cast<double>(texts.size());
}

std::string to_text(const AlikeHeads& alike, std::size_t texts) {
  if (alike.texts_needed > static_cast<std::int64_t>(texts))
    return "Heads that attend alike: " + std::to_string(alike.texts_needed) +
           " texts are needed to tell.\n\n";
  std::string text = "heads that attend alike: redundant as far as weights go\n";
  for (const HeadCluster& cluster : alike.clusters) {
    for (const HeadIndex head : cluster.heads) text += to_string(head) + " ";
    text += formatted("  the least of two: %.3f [%.3f, %.3f], explained %.3f\n", cluster.similarity,
                      cluster.interval.low, cluster.interval.high, cluster.explained);
  }
  return text + (alike.clusters.empty() ? "none\n\n" : "\n");
}

/// By layer and head.
std::string copying_text(const HeadsRun& run) {
  if (run.copying.empty()) return "";
  const std::int64_t heads = run.before[0].heads;
  std::string text = "layer  copying, of the weights alone";
  for (std::size_t n = 0; n < run.copying.size(); ++n) {
    if (n % heads == 0) text += formatted("\n%5lld ", static_cast<long long>(n / heads));
    text += formatted(" %+.2f", run.copying[n]);
  }
  return text + "\n\n";
}

std::string maps(const HeadsRun& run, const std::vector<HeadFinding>& found) {
  const HeadScores& first = run.before.front();
  std::string map = "layer  roles", legend;
  map.resize(std::max<std::size_t>(map.size(), 8 + 2 * first.heads), ' ');
  map += "  entropy in nats\n";
  for (std::int64_t layer = 0; layer < first.layers; ++layer) {
    std::string line = formatted("%5lld  ", static_cast<long long>(layer));
    for (std::int64_t head = 0; head < first.heads; ++head)
      line += std::string(1, letter_of(found, {layer, head})) + " ";
    line.resize(std::max<std::size_t>(line.size() + 1, 14), ' ');
    for (std::int64_t head = 0; head < first.heads; ++head)
      line += formatted(" %5.2f", mean_entropy(run.before, layer, head));
    map += line + "\n";
  }
  for (int role = 0; role < kHeadRoles; ++role)
    legend += (role == 0 ? "" : ", ") + std::string(1, kRoleLetters[role]) + " " +
              name(static_cast<HeadRole>(role));
  return map + legend + ", . none\n";
}

std::string to_line(const HeadFinding& finding) {
  std::string line =
      formatted("%-16s %-6s %6.3f %7.3f   %+.3f to %+.3f  %6.2f%%", name(finding.role),
                to_string(finding.head).c_str(), finding.score, finding.chance, finding.excess->low,
                finding.excess->high, 100 * finding.level);
  line += finding.q ? formatted(" %9.2g", *finding.q) : std::string(10, ' ');
  return line + formatted(" %6lld\n", static_cast<long long>(finding.texts));
}

std::string to_line(const ScoreChange& change) {
  std::string line = formatted("%-16s %-6s %6.3f %7.3f", name(change.role),
                               to_string(change.head).c_str(), change.before, change.after);
  if (change.change)
    line +=
        formatted("   %+.3f to %+.3f %9.2g", change.change->low, change.change->high, *change.q);
  return line + "\n";
}

/// Of named heads that were not taken away, in layers after the first of those that were.
std::vector<ScoreChange> changes_of(const HeadsRun& run, const std::vector<HeadFinding>& found,
                                    const std::vector<HeadIndex>& without) {
  const std::int64_t first = std::ranges::min(without).layer;
  std::vector<HeadFinding> others;
  std::ranges::copy_if(found, std::back_inserter(others), [&](const HeadFinding& finding) {
    return finding.head.layer > first && std::ranges::find(without, finding.head) == without.end();
  });
  return others.empty() ? std::vector<ScoreChange>{} : score_changes(run.before, run.after, others);
}

std::string unnamed_roles(const HeadRoles& roles, std::size_t texts) {
  std::string text;
  for (int role = 0; role < kHeadRoles; ++role) {
    std::int64_t most = 0;
    for (const HeadFinding& finding : roles.findings)
      if (finding.role == static_cast<HeadRole>(role)) most = std::max(most, finding.texts);
    if (most < roles.texts_needed && static_cast<std::int64_t>(texts) >= roles.texts_needed)
      text += std::string("Not tested: ") + name(static_cast<HeadRole>(role)) + ", of which " +
              std::to_string(most) + " texts have any; " + std::to_string(roles.texts_needed) +
              " are needed.\n";
  }
  if (static_cast<std::int64_t>(texts) < roles.texts_needed)
    text += "No head is named: " + std::to_string(texts) +
            (texts == 1 ? " text was" : " texts were") + " given, and " +
            std::to_string(roles.texts_needed) + " are needed to tell one of " +
            std::to_string(roles.findings.size() / kHeadRoles) + " heads from chance.\n";
  return text;
}

/// Where nothing can be named: the largest score of each role.
std::string largest(const HeadRoles& roles) {
  std::string text = "largest scores     head    score  chance\n";
  for (int role = 0; role < kHeadRoles; ++role) {
    const HeadFinding* best = nullptr;
    for (const HeadFinding& finding : roles.findings)
      if (finding.role == static_cast<HeadRole>(role) && finding.texts > 0 &&
          (best == nullptr || strength(finding) > strength(*best)))
        best = &finding;
    if (best == nullptr) continue;
    text += formatted("%-16s   %-6s %6.3f %7.3f\n", name(best->role), to_string(best->head).c_str(),
                      best->score, best->chance);
  }
  return text;
}

std::string to_table(const HeadsRun& run, const HeadRoles& roles,
                     const std::vector<HeadFinding>& found,
                     const std::vector<ScoreChange>& changes) {
  std::size_t tokens = 0;
  for (const Text& text : run.texts) tokens += text.tokens.size();
  std::string table = "model    " + run.model + "\ntexts    " + std::to_string(run.texts.size()) +
                      ", " + std::to_string(tokens) + " tokens\n\n" + maps(run, found) + "\n";
  table += to_text(find_alike_heads(run.before), run.texts.size()) + copying_text(run);
  if (found.empty()) {
    table += largest(roles);
  } else {
    table += "role             head    score  chance   interval of excess  level        q  texts\n";
    for (const HeadFinding& finding : found) table += to_line(finding);
  }
  const std::string notes = unnamed_roles(roles, run.texts.size());
  if (!notes.empty()) table += "\n" + notes;
  if (!run.after.empty()) {
    table += "\nwithout " + run.without +
             "\nrole             head   before   after   95% of the change       q\n";
    for (const ScoreChange& change : changes) table += to_line(change);
    if (changes.empty())
      table += found.empty() ? "no head was named\n" : "no named head comes after them\n";
  }
  for (const std::string& caveat : caveats_of(run)) table += "\n" + caveat + "\n";
  return table;
}

Json number(double value) { return std::isnan(value) ? Json() : Json(value); }

Json to_json(const AlikeHeads& alike) {
  Json clusters = Json::array();
  for (const HeadCluster& cluster : alike.clusters) {
    Json heads = Json::array();
    for (const HeadIndex head : cluster.heads) heads.push_back({head.layer, head.head});
    clusters.push_back({{"heads", heads},
                        {"similarity", cluster.similarity},
                        {"interval", optional_json(cluster.interval)},
                        {"explained", cluster.explained}});
  }
  return {{"texts_needed", alike.texts_needed}, {"clusters", clusters}};
}

std::string to_json(const HeadsRun& run, const HeadRoles& roles,
                    const std::vector<ScoreChange>& changes) {
  Json texts = Json::array(), findings = Json::array(), entropy = Json::array(),
       changed = Json::array();
  for (const Text& text : run.texts)
    texts.push_back({{"file", text.file}, {"tokens", text.tokens.size()}});
  for (const HeadFinding& f : roles.findings)
    findings.push_back({{"role", name(f.role)},
                        {"layer", f.head.layer},
                        {"head", f.head.head},
                        {"texts", f.texts},
                        {"score", number(f.score)},
                        {"chance", number(f.chance)},
                        {"excess", optional_json(f.excess)},
                        {"level", f.level},
                        {"p", optional_json(f.p)},
                        {"q", optional_json(f.q)},
                        {"named", f.named}});
  for (std::int64_t layer = 0; layer < run.before[0].layers; ++layer) {
    Json row = Json::array();
    for (std::int64_t head = 0; head < run.before[0].heads; ++head)
      row.push_back(mean_entropy(run.before, layer, head));
    entropy.push_back(row);
  }
  for (const ScoreChange& change : changes)
    changed.push_back({{"role", name(change.role)},
                       {"layer", change.head.layer},
                       {"head", change.head.head},
                       {"before", number(change.before)},
                       {"after", number(change.after)},
                       {"change_95", optional_json(change.change)},
                       {"p", optional_json(change.p)},
                       {"q", optional_json(change.q)}});
  Json similarity = Json::array(), copying;
  for (std::int64_t layer = 0; layer < run.before[0].layers; ++layer) {
    Json matrix = Json::array();
    for (std::int64_t a = 0; a < run.before[0].heads; ++a) {
      matrix.push_back(Json::array());
      for (std::int64_t b = 0; b < run.before[0].heads; ++b)
        matrix.back().push_back(number(mean_similarity(run.before, layer, a, b)));
    }
    similarity.push_back(matrix);
  }
  for (std::size_t n = 0; n < run.copying.size(); ++n)
    copying[n / run.before[0].heads][n % run.before[0].heads] = number(run.copying[n]);
  return json_text({{"model", run.model},
                    {"seconds", run.seconds},
                    {"texts", texts},
                    {"texts_needed", roles.texts_needed},
                    {"findings", findings},
                    {"entropy", entropy},
                    {"similarity", similarity},
                    {"alike", to_json(find_alike_heads(run.before))},
                    {"copying", copying},
                    {"without", run.without.empty() ? Json() : Json(run.without)},
                    {"changes", changed},
                    {"caveats", caveats_of(run)}},
                   2);
}

}  // namespace

void report_heads(const HeadsRun& run, const std::vector<HeadIndex>& without, bool json) {
  const HeadRoles roles = find_head_roles(run.before);
  const std::vector<HeadFinding> found = named(roles);
  std::vector<ScoreChange> changes;
  if (!run.after.empty()) changes = changes_of(run, found, without);
  print(json ? to_json(run, roles, changes) : to_table(run, roles, found, changes));
}

}  // namespace rapt::cli
