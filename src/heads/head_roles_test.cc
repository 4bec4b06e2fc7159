// Heads whose roles are known, since their weights were set by hand: all are found, and no other is
// given a name. A row, a window or a link that is taken for another must fail here.
#include "rapt/head_roles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>
#include <string>

#include "base/splitmix64.h"
#include "model/llama_test_files.h"
#include "util.h"

namespace rapt::test {
namespace {

using Tokens = std::vector<std::int32_t>;

constexpr std::int64_t kWidth = 32, kDim = 32, kBits = 8;
// Features of the residual stream: 1; the token's code; the code of the token before; BOS.
constexpr std::int64_t kOne = 0, kCode = 1, kPrevious = kCode + kBits, kBos = kPrevious + kBits;
const Tokens kBeginning = {0};

nlohmann::json config() {
  nlohmann::json fields = small_config();
  fields["hidden_size"] = kWidth;
  fields["head_dim"] = kDim;
  fields["num_key_value_heads"] = 2;
  fields["rope_theta"] = 1e8;  // slow pairs hardly turn in a hundred tokens
  fields["max_position_embeddings"] = 64;
  return fields;
}

/// Adds to a projection of a head: what feature `from` gives to feature `to` of the head.
void project(LlamaFiles& files, int layer, const std::string& part, int head, std::int64_t to,
             std::int64_t from, float value) {
  files[LlamaFiles::name(layer, "self_attn." + part)].at(head * kDim + to, from) = value;
}

/// Matches the code at feature `query` with that at feature `key`, in pairs that hardly turn.
void match(LlamaFiles& files, int layer, int head, std::int64_t query, std::int64_t key) {
  for (std::int64_t bit = 0; bit < kBits; ++bit) {
    project(files, layer, "q_proj", head, 8 + bit, query + bit, 12);
    project(files, layer, "k_proj", head, 8 + bit, key + bit, 12);
  }
}

/// Three layers of two heads:
///
///     0.0  looks at the token before, and writes its code      0.1  looks at everything alike
///     1.0  where the code before is the present one             1.1  where the present code is
///     2.0  at BOS                                               2.1  at everything alike
Model known_model() {
  LlamaFiles files(3, config());
  for (std::int64_t token = 0; token < 300; ++token) {
    TestWeight& embedding = files["model.embed_tokens"];
    embedding.at(token, kOne) = 1;
    for (std::int64_t bit = 0; bit < kBits; ++bit)
      embedding.at(token, kCode + bit) = (token >> bit & 1) != 0 ? 1.0f : -1.0f;
    if (token == kBeginning[0]) embedding.at(token, kBos) = 1;
  }
  for (std::int64_t pair = 0; pair < 2; ++pair) {  // score 200 cos((i - j - 1) theta) of each
    const double theta = std::pow(1e8, -static_cast<double>(pair) / 16);
    project(files, 0, "k_proj", 0, pair, kOne, 16);
    project(files, 0, "q_proj", 0, pair, kOne, static_cast<float>(16 * std::cos(theta)));
    project(files, 0, "q_proj", 0, pair + 16, kOne, static_cast<float>(-16 * std::sin(theta)));
  }
  for (std::int64_t bit = 0; bit < kBits; ++bit) {
    project(files, 0, "v_proj", 0, bit, kCode + bit, 1);
    files[LlamaFiles::name(0, "self_attn.o_proj")].at(kPrevious + bit, bit) = 0.5f;
  }
  match(files, 1, 0, kCode, kPrevious);
  match(files, 1, 1, kCode, kCode);
  project(files, 2, "q_proj", 0, 15, kOne, 12);
  project(files, 2, "k_proj", 0, 15, kBos, 12);
  return files.load();
}

/// Twenty different tokens, twice.
Tokens repeated(std::uint64_t seed) {
  Tokens tokens;
  for (const std::int64_t token : draw_without_replacement(200, 20, seed))
    tokens.push_back(static_cast<std::int32_t>(token) + 1);
  tokens.insert(tokens.end(), tokens.begin(), tokens.begin() + 20);
  return tokens;
}

std::vector<HeadScores> scores_of(const Model& model, int texts,
                                  const HeadInterventions& interventions = {}) {
  HeadScoreOptions options;
  options.interventions = interventions;
  std::vector<HeadScores> scores;
  for (int n = 0; n < texts; ++n)
    scores.push_back(head_scores(model, Threads(1), kBeginning, repeated(n + 1), options));
  return scores;
}

std::set<std::string> names_of(const HeadRoles& roles) {
  std::set<std::string> names;
  for (const HeadFinding& finding : roles.findings)
    if (finding.named) names.insert(to_string(finding.head) + " " + name(finding.role));
  return names;
}

TEST(HeadRoles, KnownHeadsAreFoundAndNoOthers) {
  const HeadRoles roles = find_head_roles(scores_of(known_model(), 10));
  EXPECT_EQ(roles.texts_needed, 7);  // for 6 heads
  EXPECT_EQ(names_of(roles),
            (std::set<std::string>{"0.0 previous token", "0.0 local", "0.1 broad", "1.0 induction",
                                   "1.1 duplicate token", "1.1 local", "2.0 sink", "2.1 broad"}));
  for (const HeadFinding& finding : roles.findings) {
    const HeadRole role = finding.role;
    if ((role == HeadRole::kPreviousToken && finding.head == HeadIndex{0, 0}) ||
        (role == HeadRole::kInduction && finding.head == HeadIndex{1, 0})) {
      EXPECT_GT(finding.score, 0.99) << name(role);
    }
    const bool has_any = role != HeadRole::kBracket && role != HeadRole::kSentenceStart;
    EXPECT_EQ(finding.excess.has_value(), has_any) << name(role);
    EXPECT_EQ(finding.q.has_value(), has_any && role != HeadRole::kBroad) << name(role);
    const auto rejected = std::ranges::count_if(roles.findings, [&](const HeadFinding& other) {
      return other.role == role && other.q && *other.q <= 0.05;
    });
    EXPECT_EQ(finding.level,
              finding.q && *finding.q <= 0.05 ? 1 - 0.05 * static_cast<double>(rejected) / 6 : 0.95)
        << name(role);
  }
}

TEST(HeadRoles, TooFewTextsNameNothing) {
  const HeadRoles roles = find_head_roles(scores_of(known_model(), 6));
  EXPECT_TRUE(names_of(roles).empty());
  for (const HeadFinding& finding : roles.findings) EXPECT_FALSE(finding.p || finding.excess);
}

TEST(HeadRoles, AttentionWithoutPreferencesIsChance) {
  const Model model = known_model();
  Tokens tokens = repeated(1);
  tokens[8] = tokens[5];  // within a window
  HeadScoreOptions options;
  options.context = 16;  // windows of 15 tokens after BOS
  options.token_class.assign(tokens.size(), 0);
  options.links.assign(tokens.size(), -1);
  options.token_class[2] = options.token_class[33] = 1;
  options.links[6] = 2;
  options.links[38] = 31;
  options.links[20] = 3;  // into another window: no link
  const HeadScores scores = head_scores(model, Threads(1), kBeginning, tokens, options);
  for (int role = 0; role < kHeadRoles; ++role)
    for (const HeadIndex head : {HeadIndex{0, 1}, {2, 1}}) {
      EXPECT_NEAR(scores.score(static_cast<HeadRole>(role), head),
                  scores.chance(static_cast<HeadRole>(role), head), 1e-6)
          << name(static_cast<HeadRole>(role));
    }
  // Token 6 is the 8th of its window, token 38 the 10th: 1 / 8 and 1 / 10 of the weight is a key's.
  EXPECT_NEAR(scores.chance(HeadRole::kBracket, {0, 1}), (1.0 / 8 + 1.0 / 10) / 2, 1e-6);
  EXPECT_NEAR(scores.score(HeadRole::kBroad, {0, 1}), 1, 1e-6);
}

TEST(HeadRoles, LinksAndClassesAreThoseOfTheText) {
  const Tokens tokens = repeated(1);
  HeadScoreOptions options;
  options.context = 16;
  options.token_class.assign(tokens.size(), 1);
  for (std::int64_t t = 0; t < std::ssize(tokens); ++t) options.links.push_back(t - 1);
  const HeadScores scores = head_scores(known_model(), Threads(1), kBeginning, tokens, options);
  EXPECT_GT(scores.score(HeadRole::kBracket, {0, 0}), 0.99);
  EXPECT_LT(scores.score(HeadRole::kBracket, {2, 0}), 0.01);
  EXPECT_NEAR(scores.score(HeadRole::kSentenceStart, {2, 0}), 0,
              1e-3);  // all but BOS is of the class
  EXPECT_NEAR(scores.score(HeadRole::kSentenceStart, {0, 1}),
              1 - scores.score(HeadRole::kSink, {0, 1}), 1e-6);
}

// A text that begins without BOS: its first token starts a sentence, and is the sink's place.
TEST(HeadRoles, AFirstTokenIsTheSinksAlone) {
  Tokens tokens = repeated(1);
  tokens[0] = kBeginning[0];
  HeadScoreOptions options;
  options.token_class.assign(tokens.size(), 0);
  options.token_class[0] = 1;
  const Model model = known_model();
  HeadScores scores = head_scores(model, Threads(1), {}, tokens, options);
  EXPECT_GT(scores.score(HeadRole::kSink, {2, 0}), 0.99);
  EXPECT_EQ(scores.rows_of(HeadRole::kSentenceStart, {2, 0}), 0);
  options.token_class[7] = 1;
  scores = head_scores(model, Threads(1), {}, tokens, options);
  EXPECT_GT(scores.rows_of(HeadRole::kSentenceStart, {2, 0}), 0);
  EXPECT_LT(scores.score(HeadRole::kSentenceStart, {2, 0}), 0.01);
}

/// Scores of heads without preferences on so many texts: each is chance, and what its text and
/// itself add.
std::vector<HeadScores> null_scores(std::int64_t heads, int texts, std::uint64_t seed) {
  std::uint64_t drawn = 0;
  const auto draw = [&] {
    return 0.05 * (static_cast<double>(splitmix64(seed, ++drawn) >> 11) * 0x1p-53 - 0.5);
  };
  std::vector<HeadScores> all(texts);
  for (HeadScores& text : all) {
    text.layers = 1;
    text.heads = heads;
    for (int role = 0; role < kHeadRoles; ++role) {
      const double shared = draw();
      for (std::int64_t head = 0; head < heads; ++head)
        text.scores.push_back(0.2 + shared + draw());
    }
    text.chances.assign(text.scores.size(), 0.2);
    text.rows.assign(text.scores.size(), 10);
  }
  return all;
}

TEST(HeadRoles, HeadsWithoutPreferencesAreHardlyEverCertain) {
  constexpr int kDraws = 1500;
  std::int64_t families = 0, some = 0, named = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    const HeadRoles roles = find_head_roles(null_scores(4, 7, draw + 1));
    ASSERT_EQ(roles.texts_needed, 7);
    for (int role = 0; role < kHeadRoles; ++role) {
      if (static_cast<HeadRole>(role) == HeadRole::kBroad) continue;
      bool any = false;
      for (int head = 0; head < 4; ++head) {
        const HeadFinding& finding = roles.findings[role * 4 + head];
        any |= *finding.q <= 0.05;
        named += finding.named;
      }
      ++families;
      some += any;
    }
  }
  EXPECT_LT(static_cast<double>(some) / static_cast<double>(families), 0.05);
  EXPECT_GT(some, 0);
  EXPECT_EQ(named, 0);  // 0.3 of what is possible is far
}

TEST(HeadRoles, ScoresThatAreNoNumbersAreRefused) {
  std::vector<HeadScores> texts = null_scores(4, 7, 1);
  texts[3].scores[2 * 4 + 1] = std::nan("");
  EXPECT_EQ(error_of([&] { find_head_roles(texts); }),
            "HeadScores[3]: expected finite scores, got others for induction of head 0.1");
  texts[3].rows[2 * 4 + 1] = 0;
  EXPECT_EQ(find_head_roles(texts).findings[2 * 4 + 1].texts, 6);

  LlamaFiles files(1, config());
  files[LlamaFiles::name(0, "self_attn.q_proj")].at(kDim, 0) = std::nanf("");
  files["model.embed_tokens"].at(3, kOne) = 1;
  const Model model = files.load();
  const std::string got = error_of([&] {
    head_scores(model, Threads(1), kBeginning, Tokens{5, 3, 5, 7}, {});
  });
  EXPECT_NE(got.find("head_scores.model: expected weights of attention that are numbers, got NaN"),
            std::string::npos)
      << got;
  EXPECT_NE(got.find("of head 0.1"), std::string::npos) << got;
}

TEST(HeadRoles, InductionFallsWithoutThePreviousTokenHead) {
  const Model model = known_model();
  const auto before = scores_of(model, 10);
  const HeadRoles roles = find_head_roles(before);
  std::vector<HeadFinding> later;
  for (const HeadFinding& finding : roles.findings)
    if (finding.named && finding.head.layer > 0) later.push_back(finding);
  HeadInterventions interventions;
  interventions.gate({0, 0}, 0);
  for (const ScoreChange& change :
       score_changes(before, scores_of(model, 10, interventions), later)) {
    ASSERT_TRUE(change.q.has_value());
    if (change.role == HeadRole::kInduction) {
      EXPECT_LT(change.after, 0.1);
      EXPECT_LT(change.change->high, -0.8);
      EXPECT_LE(*change.q, 0.05);
    } else {
      EXPECT_NEAR(change.after, change.before, 0.05) << name(change.role);
    }
  }
  interventions.gate({0, 0}, 1);
  interventions.gate({0, 1}, 0);  // a head that writes nothing
  for (const ScoreChange& change :
       score_changes(before, scores_of(model, 10, interventions), later))
    EXPECT_EQ(change.after, change.before);
}

TEST(HeadRoles, HeadsThatAttendAlikeAreAlike) {
  HeadScoreOptions options;
  options.context = 30;
  options.similarity = true;
  const Tokens tokens = repeated(2);
  const HeadScores scores = head_scores(known_model(), Threads(1), kBeginning, tokens, options);
  const auto similarity = [&](int layer, int a, int b) {
    return scores.similarity[(layer * 2 + a) * 2 + b];
  };
  for (int layer = 0; layer < 3; ++layer) {
    EXPECT_NEAR(similarity(layer, 0, 0), 1, 1e-6);
    EXPECT_NEAR(similarity(layer, 0, 1), similarity(layer, 1, 0), 1e-12);
  }
  // All on one key, and alike on n > 1 keys: sqrt(1 / n), over rows of two windows.
  double sum = 0;
  int rows = 0;
  for (const int length : {30, 12})
    for (int n = 2; n <= length; ++n, ++rows) sum += std::sqrt(1.0 / n);
  EXPECT_NEAR(similarity(2, 0, 1), sum / rows, 1e-3);
  EXPECT_TRUE(head_scores(known_model(), Threads(1), kBeginning, tokens, {}).similarity.empty());
}

TEST(HeadRoles, SameBitsHoweverRun) {
  const Model model = known_model();
  HeadScoreOptions options;
  options.context = 30;
  options.similarity = true;
  const HeadScores want = head_scores(model, Threads(1), kBeginning, repeated(3), options);
  const auto bits = [](const std::vector<double>& values) {
    std::vector<std::uint64_t> result;
    for (const double value : values) result.push_back(std::bit_cast<std::uint64_t>(value));
    return result;
  };
  for (const Isa isa : supported_isas()) {
    const ForcedIsa forced(isa);
    const HeadScores got = head_scores(model, Threads(3), kBeginning, repeated(3), options);
    EXPECT_EQ(bits(got.scores), bits(want.scores)) << name(isa);
    EXPECT_EQ(bits(got.chances), bits(want.chances)) << name(isa);
    EXPECT_EQ(bits(got.entropy), bits(want.entropy)) << name(isa);
    EXPECT_EQ(bits(got.similarity), bits(want.similarity)) << name(isa);
  }
}

TEST(HeadRoles, RefusesWhatDoesNotFit) {
  const Model model = known_model();
  const auto refuses = [&](const std::string& expected, const Tokens& tokens,
                           const HeadScoreOptions& options) {
    const std::string got =
        error_of([&] { head_scores(model, Threads(1), kBeginning, tokens, options); });
    EXPECT_NE(got.find(expected), std::string::npos) << got;
  };
  refuses("head_scores.tokens: expected at least one token", {}, {});
  HeadScoreOptions options;
  options.context = 1;
  refuses("head_scores.context: expected 2 to 64 tokens, got 1", {5}, options);
  options.context = 0;
  options.links = {-1};
  refuses("head_scores.options: expected token_class and links for 2 tokens, or none, got 1",
          {5, 6}, options);
  EXPECT_NE(error_of([] { find_head_roles({}); }).find("find_head_roles.texts: expected at least"),
            std::string::npos);
}

}  // namespace
}  // namespace rapt::test
