// Interventions on heads, held against models whose W_O does the same. A head or a position that is
// taken for another, or a change after W_O, must fail here.
#include "rapt/head_interventions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "model/llama_test_files.h"
#include "rapt/evaluate.h"
#include "rapt/session.h"
#include "util.h"

namespace rapt::test {
namespace {

using Tokens = std::vector<std::int32_t>;

const Tokens kText = {1, 17, 230, 5, 5, 99, 17, 230, 64, 3, 280};

nlohmann::json config() {
  nlohmann::json fields = small_config();
  fields["hidden_size"] = 16;
  fields["num_attention_heads"] = 4;
  fields["num_key_value_heads"] = 2;
  return fields;
}

/// Three layers of four heads of four features.
LlamaFiles random_files() {
  LlamaFiles files(3, config());
  files.randomise(0.6f);
  return files;
}

/// The same, with the columns of W_O that read a head multiplied.
Model with_output_scaled(HeadIndex head, float factor) {
  LlamaFiles files = random_files();
  TestWeight& o = files[LlamaFiles::name(head.layer, "self_attn.o_proj")];
  for (std::int64_t row = 0; row < o.rows; ++row)
    for (std::int64_t e = 0; e < 4; ++e) o.at(row, head.head * 4 + e) *= factor;
  return files.load();
}

/// Logits of every token, taken `chunk` at a time.
Tensor logits_of(const Model& model, const HeadInterventions& interventions, std::int64_t chunk,
                 int threads = 1) {
  Session session(model, Threads(threads));
  session.intervene(interventions);
  const std::int64_t count = std::ssize(kText), vocab = model.config().vocab_size;
  Tensor all({1, 1, count, vocab});
  for (std::int64_t t = 0; t < count; t += chunk) {
    const std::int64_t size = std::min(chunk, count - t);
    copy(session.prefill(std::span(kText).subspan(t, size), Logits::kAll),
         {&all.view.at(0, 0, t, 0), {1, 1, size, vocab}});
  }
  return all;
}

Tensor logits_of(const Model& model, const HeadInterventions& interventions = {}) {
  return logits_of(model, interventions, std::ssize(kText));
}

TEST(HeadInterventions, GatesAreThoseOfTheOutputProjection) {
  const Model model = random_files().load();
  const Tensor plain = logits_of(model);
  for (const HeadIndex head : {HeadIndex{0, 0}, {0, 3}, {1, 2}, {2, 1}})
    for (const float factor : {0.0f, 1.0f, 0.5f, -2.0f}) {
      SCOPED_TRACE(std::to_string(head.layer) + "." + std::to_string(head.head));
      HeadInterventions interventions;
      interventions.gate(head, 7);
      interventions.gate(head, factor);  // the last one counts
      const Tensor changed = logits_of(model, interventions);
      EXPECT_TRUE(same_bits(changed.view, logits_of(with_output_scaled(head, factor)).view));
      EXPECT_EQ(same_bits(changed.view, plain.view), factor == 1);
    }
}

TEST(HeadInterventions, ZeroIsZeroWhereTheOutputIsNaN) {
  LlamaFiles files = random_files();
  files[LlamaFiles::name(0, "self_attn.v_proj")].at(1, 2) = NAN;  // of heads 0 and 1
  const Model model = files.load();
  HeadInterventions interventions;
  for (const HeadIndex head : heads_of_group(model.config(), 0, 0)) interventions.gate(head, 0);
  const Tensor got = logits_of(model, interventions);
  for (std::int64_t n = 0; n < 300; ++n) ASSERT_TRUE(std::isfinite(got.view.at(0, 0, 3, n)));
}

TEST(HeadInterventions, ReplacedOutputsAreThoseThatWereGiven) {
  const Model model = random_files().load();
  const HeadOutputs plain = head_outputs(model, Threads(1), kText);
  const Tensor mean = normal({1, 1, 1, 4}, 1), rows = normal({1, 1, std::ssize(kText), 4}, 2);
  HeadInterventions interventions;
  interventions.replace({1, 2}, mean.view);
  interventions.replace({1, 0}, rows.view);
  EXPECT_EQ(interventions.positions(), std::ssize(kText));
  for (const std::int64_t chunk : {1, 3, 11}) {
    Session session(model);
    session.intervene(interventions);
    session.observe([&](const LayerAttention& seen) {
      const std::int64_t tokens = seen.o.extents[1], first = seen.plan.problem().kv_tokens - tokens;
      for (std::int64_t t = 0; t < tokens && seen.layer < 2; ++t)
        for (std::int64_t h = 0; h < 4; ++h)
          for (std::int64_t e = 0; e < 4; ++e) {
            float want = plain.of({seen.layer, h}).at(0, 0, first + t, e);
            if (seen.layer == 1 && h == 2) want = mean.view.at(0, 0, 0, e);
            if (seen.layer == 1 && h == 0) want = rows.view.at(0, 0, first + t, e);
            ASSERT_EQ(seen.o.at(0, t, h, e), want) << seen.layer << "." << h << ", " << first + t;
          }
    });
    for (std::size_t t = 0; t < kText.size(); t += chunk)
      session.prefill(std::span(kText).subspan(t, std::min<std::size_t>(chunk, kText.size() - t)));
  }
}

TEST(HeadInterventions, AHeadsOwnOutputsLeaveTheBits) {
  const Model model = random_files().load();
  const HeadOutputs own = head_outputs(model, Threads(1), kText);
  HeadInterventions interventions;
  for (std::int64_t layer = 0; layer < 3; ++layer)
    for (std::int64_t head = 0; head < 4; ++head)
      interventions.replace({layer, head}, own.of({layer, head}));
  for (const std::int64_t chunk : {1, 4, 11})
    EXPECT_TRUE(same_bits(logits_of(model, interventions, chunk).view, logits_of(model).view));
}

TEST(HeadInterventions, SameBitsHoweverRun) {
  const Model model = random_files().load();
  HeadInterventions interventions;
  interventions.gate({0, 1}, 0.3f);
  interventions.replace({1, 3}, normal({1, 1, 1, 4}, 3).view);
  interventions.replace({2, 0}, normal({1, 1, std::ssize(kText), 4}, 4).view);
  const Tensor want = logits_of(model, interventions);
  for (const Isa isa : supported_isas()) {
    const ForcedIsa forced(isa);
    for (const std::int64_t chunk : {1, 2, 11})
      EXPECT_TRUE(same_bits(logits_of(model, interventions, chunk, 3).view, want.view))
          << name(isa) << ", " << chunk;
  }
}

TEST(HeadInterventions, MeansAreOverAllTokensOfAllTexts) {
  const Model model = random_files().load();
  const std::vector<Tokens> texts = {kText, {9, 8, 7}};
  const HeadOutputs means = head_output_means(model, Threads(1), texts);
  ASSERT_EQ(means.tokens, 1);
  for (const HeadIndex head : {HeadIndex{0, 1}, {2, 3}})
    for (std::int64_t e = 0; e < 4; ++e) {
      double sum = 0;
      for (const Tokens& tokens : texts) {
        const HeadOutputs outputs = head_outputs(model, Threads(1), tokens);
        for (std::int64_t t = 0; t < outputs.tokens; ++t) sum += outputs.of(head).at(0, 0, t, e);
      }
      EXPECT_NEAR(means.of(head).at(0, 0, 0, e), sum / 14, 1e-7);
    }
}

TEST(HeadInterventions, GroupsAreTheHeadsOfAKeyValueHead) {
  const Model model = random_files().load();
  EXPECT_EQ(heads_of_group(model.config(), 1, 0), (std::vector<HeadIndex>{{1, 0}, {1, 1}}));
  EXPECT_EQ(heads_of_group(model.config(), 2, 1), (std::vector<HeadIndex>{{2, 2}, {2, 3}}));
}

TEST(HeadInterventions, EvaluateTakesThem) {
  const Model model = random_files().load();
  EvaluationOptions options;
  options.context = 6;  // several windows
  options.interventions.gate({1, 1}, 0);
  const Evaluation got = evaluate(model, Threads(1), Tokens{1}, kText, options);
  options.interventions = {};
  const Evaluation want =
      evaluate(with_output_scaled({1, 1}, 0), Threads(1), Tokens{1}, kText, options);
  EXPECT_EQ(got.nats, want.nats);
  EXPECT_NE(got.nats, evaluate(model, Threads(1), Tokens{1}, kText, options).nats);
}

TEST(HeadInterventions, RefusesWhatTheModelHasNot) {
  const Model model = random_files().load();
  Session session(model);
  const auto message = [&](auto&& change) {
    return error_of([&] {
      HeadInterventions interventions;
      change(interventions);
      session.intervene(interventions);
    });
  };
  const Tensor wide = normal({1, 1, 1, 5}, 1), batch = normal({2, 1, 1, 4}, 1);
  const auto refuses = [&](const std::string& expected, auto&& change) {
    const std::string got = message(change);
    EXPECT_NE(got.find(expected), std::string::npos) << got;
  };
  refuses("HeadInterventions.head: expected one of 3 layers and 4 heads, got layer 3, head 0",
          [](HeadInterventions& x) {
            x.gate({3, 0}, 0);
          });
  refuses("got layer 0, head 4", [](HeadInterventions& x) { x.gate({0, 4}, 0); });
  refuses("0 or more, got layer -1, head 0", [](HeadInterventions& x) { x.gate({-1, 0}, 0); });
  refuses("HeadInterventions.gate: expected a finite number", [](HeadInterventions& x) {
    x.gate({0, 0}, NAN);
  });
  refuses("HeadInterventions.values of layer 0, head 1: expected 4 features",
          [&](HeadInterventions& x) {
            x.replace({0, 1}, wide.view);
          });
  refuses("HeadInterventions.values: expected [1, 1, T, Dv]", [&](HeadInterventions& x) {
    x.replace({0, 1}, batch.view);
  });
  refuses("heads_of_group.kv_head: expected 0 to 1, got 2",
          [&](HeadInterventions&) { heads_of_group(model.config(), 0, 2); });
  HeadInterventions three;
  three.replace({0, 0}, normal({1, 1, 3, 4}, 1).view);
  session.intervene(three);
  EXPECT_NE(error_of([&] {
              session.prefill(kText);
            }).find("Session.tokens: expected at most 3, the positions that interventions have"),
            std::string::npos);
  EXPECT_EQ(session.length(), 0);
  session.prefill(std::span(kText).first(3));
}

}  // namespace
}  // namespace rapt::test
