#include "cli/audit_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/output.h"

namespace rapt::cli {
namespace {

using Json = nlohmann::ordered_json;

/// Sums over the rows of one layer's report.
struct LayerSums {
  std::int64_t expected_keys = 0, found_keys = 0;
  double hidden_mass = 0, row_sum_error = 0;  // the largest of a row

  explicit LayerSums(const AuditReport& report) {
    for (const AuditRow& row : report.rows) {
      expected_keys += row.expected_keys;
      found_keys += row.found_keys;
      const double error = std::abs(row.mass - row.expected_mass);
      if (!(row.hidden_mass <= hidden_mass)) hidden_mass = row.hidden_mass;
      if (!(error <= row_sum_error)) row_sum_error = error;
    }
  }
};

Json to_json(const AuditFinding& f) {
  return {{"check", name(f.check)},
          {"layer", f.layer},
          {"sequence", f.sequence},
          {"head", f.head},
          {"query", f.query},
          {"key", f.key},
          {"key_sequence", f.key_sequence},
          {"kv_head", f.kv_head},
          {"expected", f.expected},
          {"found", f.found}};
}

Json to_json(const std::vector<AuditFinding>& findings) {
  Json list = Json::array();
  for (const AuditFinding& finding : findings) list.push_back(to_json(finding));
  return list;
}

std::string to_json(const AuditedText& audited, const ModelAudit& audit) {
  Json layers = Json::array();
  for (const LayerAudit& layer : audit.layers) {
    const LayerSums sums(layer.report);
    layers.push_back({{"layer", layer.layer},
                      {"queries", layer.report.queries},
                      {"expected_keys", sums.expected_keys},
                      {"found_keys", sums.found_keys},
                      {"hidden_mass", sums.hidden_mass},
                      {"row_sum_error", sums.row_sum_error},
                      {"findings", to_json(layer.report.findings)}});
  }
  const auto first = audit.first();
  return json_text(
      {{"model", audited.model},
       {"tokens", audited.tokens},
       {"seconds", audited.seconds},
       {"passed", audit.passed()},
       {"first", first ? to_json(*first) : Json()},
       {"layers", layers},
       {"prefixes",
        {{"cuts", audit.prefixes.cuts}, {"findings", to_json(audit.prefixes.findings)}}}},
      2);
}

/// "layer 2, head 3, query 17, key 18: hidden mass: expected 0, got 0.01".
std::string to_text(const AuditFinding& f) {
  std::string text;
  const auto add = [&](const char* what, std::int64_t n) {
    if (n >= 0) text += (text.empty() ? "" : ", ") + std::string(what) + " " + std::to_string(n);
  };
  add("layer", f.layer);
  add("head", f.head);
  add("query", f.query);
  add("key", f.key);
  char values[80];
  std::snprintf(values, sizeof values, ": expected %.9g, got %.9g", f.expected, f.found);
  return text + ": " + name(f.check) + values;
}

std::string result_of(const std::vector<AuditFinding>& findings) {
  std::string names;
  for (const AuditFinding& finding : findings)
    names += (names.empty() ? "LEAK: " : ", ") + std::string(name(finding.check));
  return names.empty() ? "pass" : names;
}

std::string numbers(const std::vector<std::int64_t>& list) {
  std::string text;
  for (const std::int64_t n : list) text += " " + std::to_string(n);
  return text;
}

std::string to_line(const LayerAudit& layer) {
  const LayerSums sums(layer.report);
  const auto& queries = layer.report.queries;
  char line[160];
  std::snprintf(line, sizeof line, "%5lld %9s %9lld %12lld %12lld %12.3g %14.3g  ",
                static_cast<long long>(layer.layer),
                (std::to_string(queries.front()) + "-" + std::to_string(queries.back())).c_str(),
                static_cast<long long>(layer.report.rows.size()),
                static_cast<long long>(sums.expected_keys), static_cast<long long>(sums.found_keys),
                sums.hidden_mass, sums.row_sum_error);
  return line + result_of(layer.report.findings) + "\n";
}

std::string to_table(const AuditedText& audited, const ModelAudit& audit) {
  std::string table = "model    " + audited.model + "\ntext     " + audited.text + "\n\n";
  char columns[160];
  std::snprintf(columns, sizeof columns, "%5s %9s %9s %12s %12s %12s %14s  %s\n", "layer",
                "queries", "rows", "visible keys", "found", "hidden mass", "row sum error",
                "result");
  table += columns;
  for (const LayerAudit& layer : audit.layers) table += to_line(layer);
  const auto first = audit.first();
  table += "\nqueries ";
  for (const LayerAudit& layer : audit.layers)  // of one layer, block after block
    if (layer.layer == 0) table += numbers(layer.report.queries);
  return table + "\nprefixes" + numbers(audit.prefixes.cuts) + ": " +
         result_of(audit.prefixes.findings) + "\n\n" +
         (first ? "LEAK at " + to_text(*first) : "pass: no leak found") + "\n";
}

}  // namespace

void report_audit(const AuditedText& audited, const ModelAudit& audit, bool json) {
  print(json ? to_json(audited, audit) : to_table(audited, audit));
  if (!audit.passed()) throw CLI::RuntimeError(kLeak);
}

}  // namespace rapt::cli
