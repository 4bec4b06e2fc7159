// The program's report of an audit, and its exit status.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cli/audit_report.h"
#include "cli/commands.h"
#include "loop_attention.h"

namespace rapt::test {
namespace {

/// A model whose layer 1 lets head 2 of token 17 see the next token.
ModelAudit leaking_audit() {
  ModelConfig config;
  config.vocab_size = 61;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.max_position_embeddings = 64;
  ModelAuditOptions options;
  options.attention_of_layer = [](std::int64_t layer, const Plan& plan) -> AttentionFunction {
    if (layer == 0) return attention_of(plan);
    return LoopAttention{
        [](auto, auto h, auto i, auto j) { return j <= i || (h == 2 && i == 17 && j == 18); }};
  };
  const std::vector<std::int32_t> tokens(20, 7);
  return audit_model(Model::random(config, 1), Threads(1), tokens, options);
}

struct Printed {
  std::string output;
  int status = 0;
};

Printed report(const ModelAudit& audit, bool json) {
  Printed printed;
  testing::internal::CaptureStdout();
  try {
    cli::report_audit({"models/x", "prompt, 20 tokens", 20, 1.5}, audit, json);
  } catch (const CLI::RuntimeError& error) {
    printed.status = error.get_exit_code();
  }
  printed.output = testing::internal::GetCapturedStdout();
  return printed;
}

TEST(AuditReport, NamesALeakAndHasItsStatus) {
  const Printed table = report(leaking_audit(), false);
  EXPECT_EQ(table.status, cli::kLeak);
  EXPECT_NE(table.output.find("840          840            0"), std::string::npos) << table.output;
  EXPECT_NE(table.output.find("840          841"), std::string::npos) << table.output;
  EXPECT_NE(table.output.find("  LEAK: hidden mass, poison random, poison huge, poison infinity, "
                              "poison nan\n"),
            std::string::npos)
      << table.output;
  EXPECT_NE(table.output.find("\nLEAK at layer 1, head 2, query 17, key 18: hidden mass: expected "
                              "0, got 0.0"),
            std::string::npos)
      << table.output;
  EXPECT_EQ(table.output.find("pass: no leak"), std::string::npos);
}

TEST(AuditReport, JsonOfALeak) {
  const Printed printed = report(leaking_audit(), true);
  EXPECT_EQ(printed.status, cli::kLeak);
  const auto got = nlohmann::json::parse(printed.output);
  EXPECT_EQ(got["passed"], false);
  const auto& first = got["first"];
  EXPECT_EQ(first["check"], "hidden mass");
  EXPECT_EQ(first["layer"], 1);
  EXPECT_EQ(first["sequence"], 0);
  EXPECT_EQ(first["head"], 2);
  EXPECT_EQ(first["query"], 17);
  EXPECT_EQ(first["key"], 18);
  EXPECT_EQ(first["kv_head"], 2);
  EXPECT_EQ(first["expected"], 0.0);
  EXPECT_EQ(first["found"], got["layers"][1]["hidden_mass"]);
  EXPECT_EQ(got["layers"][0]["findings"].size(), 0u);
  EXPECT_EQ(got["layers"][1]["findings"].size(), 5u);
  EXPECT_EQ(got["layers"][1]["findings"][0], first);
}

TEST(AuditReport, AModelWhoseLogitsLeak) {
  ModelAudit audit = leaking_audit();
  audit.layers.pop_back();
  EXPECT_EQ(report(audit, true).status, 0);
  AuditFinding finding;
  finding.check = AuditCheck::kSuffix;
  finding.query = 4;
  finding.key = 9;
  audit.prefixes.findings = {finding};
  const Printed table = report(audit, false);
  EXPECT_EQ(table.status, cli::kLeak);
  EXPECT_NE(table.output.find("\nLEAK at query 4, key 9: suffix: expected 0, got 0\n"),
            std::string::npos)
      << table.output;
}

}  // namespace
}  // namespace rapt::test
