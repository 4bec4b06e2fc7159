// The audit of whole models: clean ones, and leaks planted in a layer and in the logits.
#include <algorithm>

#include "loop_attention.h"
#include "rapt/model_audit.h"
#include "rapt/session.h"

namespace rapt::test {
namespace {

ModelConfig small_config() {
  ModelConfig config;
  config.vocab_size = 61;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 6;
  config.max_position_embeddings = 600;
  return config;
}

Model small_llama() { return Model::random(small_config(), 1); }

std::vector<std::int32_t> some_tokens(std::int64_t count) {
  Rng rng(7);
  std::vector<std::int32_t> tokens;
  for (std::int64_t n = 0; n < count; ++n)
    tokens.push_back(static_cast<std::int32_t>(rng.below(61)));
  return tokens;
}

ModelAuditOptions of_queries(std::int64_t queries) {
  ModelAuditOptions options;
  options.attention.queries = queries;
  options.attention.row_sum_tolerance = 1e-5;
  return options;
}

// 530 tokens run as blocks of 512 and 18: the second block's queries see both.
TEST(ModelAudit, ACleanModelIsNotAccused) {
  ModelAuditOptions options = of_queries(10);
  std::vector<std::string> parts;
  options.progress = [&](const std::string& part) { parts.push_back(part); };
  const ModelAudit audit = audit_model(small_llama(), Threads(1), some_tokens(530), options);
  EXPECT_TRUE(audit.passed());
  EXPECT_FALSE(audit.first());
  ASSERT_EQ(audit.layers.size(), 6u);
  for (int n = 0; n < 6; ++n) {
    const LayerAudit& layer = audit.layers[static_cast<std::size_t>(n)];
    EXPECT_EQ(layer.layer, n % 3);
    EXPECT_EQ(layer.report.queries.front(), n < 3 ? 0 : 512);
    EXPECT_EQ(layer.report.queries.back(), n < 3 ? 511 : 529);
    EXPECT_EQ(layer.report.rows.size(), 4 * layer.report.queries.size());
    for (const AuditRow& row : layer.report.rows) {
      EXPECT_EQ(row.expected_keys, row.query + 1);
      EXPECT_EQ(row.found_keys, row.query + 1);
      EXPECT_EQ(row.expected_mass, 1);
      EXPECT_NEAR(row.mass, 1, 1e-5);
    }
  }
  for (const std::int64_t cut : {1, 15, 16, 17, 47, 48, 49, 265, 511, 512, 513, 529})
    EXPECT_TRUE(std::ranges::count(audit.prefixes.cuts, cut)) << cut;
  EXPECT_EQ(parts.front(), "layer 1 of 3");
  EXPECT_EQ(parts.back(), "prefixes, run " + std::to_string(2 + 2 * audit.prefixes.cuts.size()));
}

TEST(ModelAudit, ALeakInOneLayerIsNamed) {
  const VisiblePredicate leaks = [](auto, auto h, auto i, auto j) {
    return j <= i || (h == 2 && i == 17 && j == 18);
  };
  ModelAuditOptions options = of_queries(64);
  options.attention_of_layer = [&](std::int64_t layer, const Plan& plan) -> AttentionFunction {
    if (layer == 1) return LoopAttention{leaks};
    return attention_of(plan);
  };
  const ModelAudit audit = audit_model(small_llama(), Threads(1), some_tokens(40), options);
  ASSERT_TRUE(audit.first());
  const AuditFinding first = *audit.first();
  EXPECT_EQ(first.check, AuditCheck::kHiddenMass);
  EXPECT_EQ(first.layer, 1);
  EXPECT_EQ(first.head, 2);
  EXPECT_EQ(first.query, 17);
  EXPECT_EQ(first.key, 18);
  EXPECT_TRUE(audit.layers[0].report.passed());
  EXPECT_FALSE(audit.layers[1].report.passed());
  EXPECT_TRUE(audit.layers[2].report.passed());
}

// In the second block queries and keys are tokens of the text.
TEST(ModelAudit, ALeakAfterTheFirstBlockIsNamedByItsTokens) {
  ModelAuditOptions options = of_queries(20);
  options.attention_of_layer = [&](std::int64_t, const Plan& plan) -> AttentionFunction {
    const std::int64_t before = plan.problem().kv_tokens - plan.problem().q_tokens;
    if (before == 0) return attention_of(plan);
    return LoopAttention{[before](auto, auto, auto i, auto j) { return j <= before + i + 1; }};
  };
  const ModelAudit audit = audit_model(small_llama(), Threads(1), some_tokens(520), options);
  ASSERT_TRUE(audit.first());
  EXPECT_EQ(audit.first()->layer, 0);
  EXPECT_EQ(audit.first()->query, 512);
  EXPECT_EQ(audit.first()->key, 513);
}

// What is audited is what the layer ran: the observer's tensors give the observer's output.
TEST(Observer, SeesWhatTheLayerReadsAndGives) {
  const Model model = small_llama();
  const auto tokens = some_tokens(530);
  Session observed(model, Threads(1)), alone(model, Threads(1));
  std::int64_t calls = 0;
  observed.observe([&](const LayerAttention& seen) {
    const Problem& p = seen.plan.problem();
    EXPECT_EQ(seen.layer, calls++ % 3);
    Tensor k({1, p.kv_tokens, p.kv_heads, p.head_dim}), v({1, p.kv_tokens, p.kv_heads, p.head_dim});
    seen.cache.read(seen.layer, seen.sequence, k.view, v.view);
    Outputs out(p);
    attention_of(seen.plan)({.q = seen.q, .k = k.view, .v = v.view},
                            {out.o.view, out.lse.view, {}, {}});
    EXPECT_TRUE(same_bits(out.o.view, seen.o));
  });
  const Tensor with = normal({1, 1, 530, 61}, 1);
  copy(observed.prefill(tokens, Logits::kAll), with.view);
  EXPECT_TRUE(same_bits(alone.prefill(tokens, Logits::kAll), with.view));
  EXPECT_EQ(calls, 6);
  observed.observe({});
  observed.decode(1);
  EXPECT_EQ(calls, 6);
}

TEST(Observer, WhatItThrowsLeavesTheSessionAsItWas) {
  const Model model = small_llama();
  Session session(model, Threads(1)), untouched(model, Threads(1));
  const std::int32_t begin[] = {1, 5}, more[] = {7, 8, 9};
  session.prefill(begin);
  untouched.prefill(begin);
  session.observe([](const LayerAttention& seen) {
    if (seen.layer == 1) throw Error(ErrorCode::kBadArgument, "enough");
  });
  EXPECT_EQ(error_of([&] { session.prefill(more); }), "enough");
  EXPECT_EQ(session.length(), 2);
  session.observe({});
  EXPECT_TRUE(same_bits(session.prefill(more), untouched.prefill(more)));
}

/// A model whose logits of token t are value(tokens, t), and t itself.
template <class Value>
PrefixReport audit_of(std::int64_t tokens, Value&& value) {
  std::vector<float> logits;
  const LogitsFunction model = [&](std::span<const std::int32_t> text) {
    logits.clear();
    for (std::int64_t t = 0; t < std::ssize(text); ++t) {
      logits.push_back(static_cast<float>(t));
      logits.push_back(static_cast<float>(value(text, t)));
    }
    return ConstTensor(logits.data(), {1, 1, std::ssize(text), 2});
  };
  std::vector<std::int32_t> text;
  for (const std::int32_t token : some_tokens(tokens)) text.push_back(token % 2);
  return audit_prefixes(model, text, 2);
}

TEST(PrefixAudit, ATokenThatPeeksAtTheNext) {
  const PrefixReport report = audit_of(
      50, [](auto text, auto t) { return text[std::min<std::size_t>(t + 1, text.size() - 1)]; });
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].check, AuditCheck::kSuffix);
  EXPECT_EQ(report.findings[0].query, 0);
  EXPECT_EQ(report.findings[0].key, 1);
  EXPECT_NE(report.findings[0].expected, report.findings[0].found);
}

TEST(PrefixAudit, TheFirstLaterTokenIsBisected) {
  const PrefixReport report = audit_of(50, [](auto text, std::int64_t t) {
    return t >= 20 && t < 30 && text.size() > 40 ? text[33] + 4 * text[40] : text[t];
  });
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].query, 20);
  EXPECT_EQ(report.findings[0].key, 33);
}

TEST(PrefixAudit, TokensThatAreNotThere) {
  const PrefixReport report = audit_of(50, [](auto text, auto) { return text.size(); });
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].query, 0);
  EXPECT_EQ(report.findings[0].key, -1);
}

TEST(PrefixAudit, ResultsThatDoNotRepeat) {
  int calls = 0;
  const PrefixReport report = audit_of(9, [&](auto, auto t) { return t < 4 ? 0 : ++calls; });
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].check, AuditCheck::kRepeat);
  EXPECT_EQ(report.findings[0].query, 4);
}

TEST(PrefixAudit, ACausalModelPasses) {
  const PrefixReport report = audit_of(1030, [](auto text, std::int64_t t) {
    return t > 600 ? text[static_cast<std::size_t>(t - 600)] : text[0];
  });
  EXPECT_TRUE(report.passed());
  EXPECT_EQ(report.cuts, (std::vector<std::int64_t>{1, 15, 16, 17, 47, 48, 49, 511, 512, 513, 515,
                                                    1023, 1024, 1025, 1029}));
}

TEST(PrefixAudit, BadInput) {
  const LogitsFunction none = [](auto) { return ConstTensor(); };
  const auto message = [&](std::vector<std::int32_t> tokens, std::int64_t vocab_size) {
    return error_of([&] { audit_prefixes(none, tokens, vocab_size); });
  };
  EXPECT_EQ(message({1}, 3), "audit_prefixes tokens: expected at least two, got 1");
  EXPECT_EQ(message({0, 0}, 1), "audit_prefixes vocab_size: expected at least two, got 1");
  EXPECT_EQ(message({0, 3}, 3), "audit_prefixes tokens: expected 0 to 2, got 3");
  EXPECT_EQ(message({0, 1}, 3), "audit_prefixes logits: expected [1, 1, 2, 3], got [0, 0, 0, 0]");
}

// One layer of three has a window of 7 tokens, one a softcap: neither is a fault.
TEST(ModelAudit, KnowsWhatEachLayerSees) {
  ModelConfig config = small_config();
  config.layers.assign(3, {.rotary = RotaryConfig{.dims = 6}});
  config.layers[1].window = 7;
  config.layers[2].softcap = 0.5f;
  const ModelAudit audit =
      audit_model(Model::random(config, 1), Threads(1), some_tokens(20), of_queries(20));
  EXPECT_TRUE(audit.passed());
  ASSERT_EQ(audit.layers.size(), 3u);
  for (const AuditRow& row : audit.layers[1].report.rows) {
    EXPECT_EQ(row.expected_keys, std::min<std::int64_t>(row.query + 1, 7));
    EXPECT_EQ(row.found_keys, row.expected_keys);
  }
}

}  // namespace
}  // namespace rapt::test
