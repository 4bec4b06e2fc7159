#include "cli/ablation.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/check.h"
#include "base/splitmix64.h"
#include "cli/generator.h"
#include "cli/output.h"
#include "cli/report_parts.h"
#include "model/json.h"
#include "rapt/statistics.h"

namespace rapt::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr float kGateStep = 0x1p-4f;  // error of its square; far above the rounding of a loss
constexpr std::uint64_t kControlSeed = 1;
constexpr const char* kPlain = "none";  // in the file: nothing is ablated

/// "1.5" within the model's extents.
std::optional<HeadIndex> parse_head(std::string_view text, const ModelConfig& config) {
  HeadIndex head;
  const char* end = text.data() + text.size();
  const auto layer = std::from_chars(text.data(), end, head.layer);
  if (layer.ec != std::errc() || layer.ptr == end || *layer.ptr != '.') return {};
  const auto index = std::from_chars(layer.ptr + 1, end, head.head);
  const bool within = head.layer >= 0 && head.layer < config.num_hidden_layers && head.head >= 0 &&
                      head.head < config.num_attention_heads;
  if (index.ec != std::errc() || index.ptr != end || !within) return {};
  return head;
}

/// Sixteen digits that other tokens hardly have.
std::string hash_of(const std::vector<std::int32_t>& tokens) {
  std::uint64_t hash = tokens.size();
  for (const std::int32_t token : tokens)
    hash = mix64(hash ^ mix64(static_cast<std::uint64_t>(token) + 1));
  return formatted("%016llx", static_cast<unsigned long long>(hash));
}

Json header_of(const AblationPlan& plan, const Json& model) {
  Json units = Json::array(), texts = Json::array();
  for (const AblationUnit& unit : plan.units) units.push_back(unit.name);
  for (const Text& text : plan.texts)
    texts.push_back({{"tokens", text.tokens.size()}, {"hash", hash_of(text.tokens)}});
  return {{"ablation", name(plan.method)},
          {"model", model},
          {"context", plan.context},
          {"units", units},
          {"texts", texts}};
}

bool is_result(const nlohmann::json& line) {
  return line.is_object() &&
         (line.contains("ablation") || (line.contains("unit") && line.contains("nats")));
}

/// Text tokens of a window, after those that begin every text; at least one token comes before those
/// that are scored.
std::int64_t stride_of(const AblationPlan& plan, std::span<const std::int32_t> beginning) {
  return plan.context - std::max<std::int64_t>(std::ssize(beginning), 1);
}

}  // namespace

const char* name(AblationMethod method) {
  static const char* const names[] = {"zero", "mean", "resample", "gate"};
  return names[static_cast<int>(method)];
}

std::vector<AblationUnit> all_heads(const ModelConfig& config) {
  std::vector<AblationUnit> units;
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer)
    for (std::int64_t head = 0; head < config.num_attention_heads; ++head)
      units.push_back({to_string(HeadIndex{layer, head}), {{layer, head}}});
  return units;
}

std::vector<AblationUnit> all_groups(const ModelConfig& config) {
  std::vector<AblationUnit> units;
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer)
    for (std::int64_t kv_head = 0; kv_head < config.num_key_value_heads; ++kv_head)
      units.push_back({std::to_string(layer) + ".kv" + std::to_string(kv_head),
                       heads_of_group(config, layer, kv_head)});
  return units;
}

std::vector<HeadIndex> parse_heads(const std::string& list, const ModelConfig& config,
                                   const std::string& option) {
  std::vector<HeadIndex> heads;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    const std::string item = list.substr(begin, end - begin);
    const auto head = parse_head(item, config);
    require(head.has_value(), ErrorCode::kBadArgument, option,
            "LAYER.HEAD of " + std::to_string(config.num_hidden_layers) + " layers and " +
                std::to_string(config.num_attention_heads) + " heads, from 0",
            "'" + item + "'");
    require(std::ranges::find(heads, *head) == heads.end(), ErrorCode::kBadArgument, option,
            "different heads", item + " twice");
    heads.push_back(*head);
    begin = end + 1;
  }
  return heads;
}

void add_controls(std::vector<AblationUnit>& units, std::int64_t count, const ModelConfig& config) {
  const std::size_t sets = units.size();
  for (std::size_t n = 0; n < sets; ++n) {
    const std::vector<HeadIndex> own = units[n].heads;
    std::vector<HeadIndex> others;
    for (const AblationUnit& head : all_heads(config))
      if (std::ranges::find(own, head.heads[0]) == own.end()) others.push_back(head.heads[0]);
    require(own.size() <= others.size(), ErrorCode::kBadArgument, "--heads",
            "at most half of the model's heads, for as many other ones", own.size());
    for (std::int64_t control = 0; control < count; ++control) {
      AblationUnit unit{units[n].name + " control " + std::to_string(control + 1),
                        {},
                        static_cast<std::int64_t>(n)};
      for (const std::int64_t k :
           draw_without_replacement(std::ssize(others), std::ssize(own), kControlSeed,
                                    static_cast<std::uint64_t>(n * 1000 + control)))
        unit.heads.push_back(others[static_cast<std::size_t>(k)]);
      units.push_back(std::move(unit));
    }
  }
}

Ablation::Ablation(const LoadedModel& loaded, const AblationPlan& plan, int threads,
                   const std::string& results, const Json& model)
    : loaded_(loaded),
      plan_(plan),
      threads_(threads),
      results_(results),
      header_(header_of(plan, model)),
      losses_(plan.texts.size()) {
  const std::int64_t least =
                         std::max<std::int64_t>(std::ssize(loaded.tokenizer.beginning()), 1) + 1,
                     most = loaded.model.config().context();
  require(plan.context >= least && plan.context <= most, ErrorCode::kBadArgument, "--context",
          std::to_string(least) + " to " + std::to_string(most) + " tokens", plan.context);
  require(plan.method != AblationMethod::kResample || plan.texts.size() >= 2,
          ErrorCode::kBadArgument, "FILE", "two texts or more, to resample one from another",
          plan.texts.size());
  for (TextLosses& text : losses_) text.units.resize(plan.units.size());
  if (results.empty()) return;
  file_.emplace(
      results, LinesFile::Form{"a result", {R"({"ablation":)", R"({"text":)"}, is_result},
      [this](const nlohmann::json& line, const std::string& where) { take(line, where); });
  if (!has_header_) file_->append(header_);
}

void Ablation::take(const nlohmann::json& line, const std::string& where) {
  if (!has_header_) {
    require(line == nlohmann::json(header_), ErrorCode::kBadFile, where,
            "results of this model, these texts and options", "others");
    has_header_ = true;
    return;
  }
  const JsonField object(line, where);
  const std::int64_t text = object["text"].integer(0, std::ssize(losses_) - 1);
  const std::string& unit = object["unit"].string();
  const double nats = object["nats"].number();
  TextLosses& losses = losses_[text];
  std::optional<double>* place = unit == kPlain ? &losses.plain : nullptr;
  for (std::size_t n = 0; n < plan_.units.size() && place == nullptr; ++n)
    if (plan_.units[n].name == unit) place = &losses.units[n];
  require(place != nullptr && !place->has_value(), ErrorCode::kBadFile, where,
          "one result of each of the units", "another of " + unit);
  if (unit == kPlain)
    losses.tokens = object["tokens"].integer(1, std::ssize(plan_.texts[text].tokens));
  *place = nats;
  ++done_;
}

void Ablation::keep(std::size_t text, const std::string& unit, double nats) {
  ++done_;
  if (!file_) return;
  Json line = {{"text", text}, {"unit", unit}, {"nats", nats}};
  if (unit == kPlain) line["tokens"] = losses_[text].tokens;
  file_->append(line);
}

void Ablation::run() {
  StatusLine status;
  const auto next = [&](std::size_t text, const AblationUnit* unit) {
    status.show(progress(text, unit));
    return !interrupted();
  };
  if (losses_[0].plain) {
    if (!next(0, nullptr)) return;
    require_same_weights();
  }
  for (std::size_t t = 0; t < plan_.texts.size(); ++t) {
    TextLosses& losses = losses_[t];
    const auto missing = [](const auto& nats) { return !nats.has_value(); };
    if (!losses.plain) {
      if (!next(t, nullptr)) return;
      const std::int64_t scored =
          std::ssize(plan_.texts[t].tokens) - (loaded_.tokenizer.beginning().empty() ? 1 : 0);
      losses.tokens = scored;
      losses.plain = named_errors(plan_.texts[t].file, [&] { return nats_of(plan_.texts[t], {}); });
      keep(t, kPlain, *losses.plain);
    }
    if (std::ranges::none_of(losses.units, missing)) continue;
    const HeadOutputs others = outputs_for(t);
    for (std::size_t n = 0; n < plan_.units.size(); ++n) {
      if (losses.units[n]) continue;
      if (!next(t, &plan_.units[n])) return;
      losses.units[n] = named_errors(plan_.texts[t].file + ", without " + plan_.units[n].name,
                                     [&] { return measure(t, plan_.units[n], others); });
      keep(t, plan_.units[n].name, *losses.units[n]);
    }
  }
  if (file_) file_->sync();
}

/// A loss has the same bits whenever the model is run: others are those of other weights.
void Ablation::require_same_weights() const {
  const double nats = nats_of(plan_.texts[0], {});
  require(
      nats == *losses_[0].plain, ErrorCode::kBadFile, results_,
      "results of this model, of " + formatted("%.17g", nats) + " nats for " + plan_.texts[0].file,
      formatted("%.17g", *losses_[0].plain));
}

double Ablation::nats_of(const Text& text, const HeadInterventions& interventions) const {
  const auto beginning = loaded_.tokenizer.beginning();
  return evaluate(loaded_.model, threads_, beginning, text.tokens,
                  {plan_.context, stride_of(plan_, beginning), {}, interventions})
      .total_nats();
}

double Ablation::measure(std::size_t text, const AblationUnit& unit,
                         const HeadOutputs& others) const {
  const auto gated = [&](float gate) {
    HeadInterventions interventions;
    for (const HeadIndex head : unit.heads) interventions.gate(head, gate);
    return nats_of(plan_.texts[text], interventions);
  };
  if (plan_.method == AblationMethod::kZero) return gated(0);
  if (plan_.method == AblationMethod::kGate)
    return (gated(1 + kGateStep) - gated(1 - kGateStep)) / (2 * double{kGateStep});
  HeadInterventions interventions;
  for (const HeadIndex head : unit.heads) interventions.replace(head, others.of(head));
  return nats_of(plan_.texts[text], interventions);
}

/// The tokens of a window of another text: those of the next one, and of the ones after it where it
/// is shorter.
std::vector<std::int32_t> Ablation::other_tokens(std::size_t text) const {
  const auto beginning = loaded_.tokenizer.beginning();
  std::vector<std::int32_t> tokens(beginning.begin(), beginning.end());
  const std::int64_t wanted = std::min<std::int64_t>(
      plan_.context, std::ssize(beginning) + std::ssize(plan_.texts[text].tokens));
  for (std::size_t other = text + 1; std::ssize(tokens) < wanted; ++other) {
    if (other % plan_.texts.size() == text) continue;
    const std::vector<std::int32_t>& from = plan_.texts[other % plan_.texts.size()].tokens;
    const auto count = std::min(std::ssize(from), wanted - std::ssize(tokens));
    tokens.insert(tokens.end(), from.begin(), from.begin() + count);
  }
  return tokens;
}

/// What the heads get instead of their own outputs.
HeadOutputs Ablation::outputs_for(std::size_t text) {
  if (plan_.method == AblationMethod::kResample)
    return head_outputs(loaded_.model, threads_, other_tokens(text));
  if (plan_.method != AblationMethod::kMean) return {};
  if (means_) return *means_;
  const auto beginning = loaded_.tokenizer.beginning();
  std::vector<std::vector<std::int32_t>> windows;
  for (const Text& each : plan_.texts)
    for (std::int64_t begin = 0; begin < std::ssize(each.tokens);
         begin += plan_.context - std::ssize(beginning)) {
      const std::int64_t end =
          std::min(begin + plan_.context - std::ssize(beginning), std::ssize(each.tokens));
      windows.emplace_back(beginning.begin(), beginning.end());
      windows.back().insert(windows.back().end(), each.tokens.begin() + begin,
                            each.tokens.begin() + end);
    }
  means_ = head_output_means(loaded_.model, threads_, windows);
  return *means_;
}

std::string Ablation::progress(std::size_t text, const AblationUnit* unit) const {
  const auto runs = plan_.texts.size() * (plan_.units.size() + 1);
  return std::to_string(done_) + " of " + std::to_string(runs) + ": " + plan_.texts[text].file +
         (unit == nullptr ? "" : ", without " + unit->name);
}

}  // namespace rapt::cli
