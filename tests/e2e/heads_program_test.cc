// `rapt heads` as a shell sees it, on the default model.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "program.h"
#include "rapt/head_roles.h"
#include "rapt/tokenizer.h"

namespace rapt::test {
namespace {

using nlohmann::json;

const std::string kModel = RAPT_MODELS_DIR "/default";

class HeadsProgram : public testing::Test {
 protected:
  void SetUp() override {
    for (int n = 0; n < 13; ++n) {
      contents_.push_back("number " + std::to_string(n * 7919) + ", number " +
                          std::to_string(n * 7919));
      const std::string file = directory_.write(std::to_string(n), contents_.back());
      if (n == 0) first_ = " '" + file + "'";
      texts_ += " '" + file + "'";
    }
  }

  Outcome heads(const std::string& arguments) const {
    return rapt("heads '" + kModel + "' --threads 1" + arguments);
  }
  json report(const std::string& arguments) const {
    return json::parse(heads(arguments + " --json").output);
  }

  /// Scores of every text with these heads taken away.
  std::vector<HeadScores> scores(const std::vector<HeadIndex>& without) const {
    const Model model = Model::load(kModel);
    const Tokenizer tokenizer = Tokenizer::load(kModel);
    HeadScoreOptions options;
    for (const HeadIndex head : without) options.interventions.gate(head, 0);
    std::vector<HeadScores> all;
    for (const std::string& text : contents_) {
      const std::vector<std::int32_t> tokens = tokenizer.encode(text, false);
      options.token_class.assign(tokens.size(), 0);
      options.token_class[0] = 1;  // one sentence, after BOS; no brackets
      all.push_back(head_scores(model, Threads(1), tokenizer.beginning(), tokens, options));
    }
    return all;
  }

  const TestDirectory directory_;
  std::vector<std::string> contents_;
  std::string texts_, first_;
};

TEST_F(HeadsProgram, FiguresAreThoseOfTheLibrary) {
  const json got = report(texts_ + " --without 0.0,0.1");
  const auto before = scores({}), after = scores({{0, 0}, {0, 1}});
  const HeadRoles want = find_head_roles(before);
  EXPECT_EQ(got["texts_needed"], want.texts_needed);
  ASSERT_EQ(got["findings"].size(), want.findings.size());
  std::vector<HeadFinding> later;
  int named = 0;
  for (std::size_t n = 0; n < want.findings.size(); ++n) {
    const HeadFinding& f = want.findings[n];
    const json& found = got["findings"][n];
    EXPECT_EQ(found["role"], name(f.role));
    EXPECT_EQ(found["head"], f.head.head);
    EXPECT_EQ(found["named"], f.named);
    EXPECT_EQ(found["texts"], f.texts);
    EXPECT_EQ(found["score"], f.texts > 0 ? json(f.score) : json());
    EXPECT_EQ(found["q"], f.q ? json(*f.q) : json());
    named += f.named;
    if (f.named && f.head.layer > 0) later.push_back(f);
  }
  EXPECT_GT(named, 0);
  const auto changes = score_changes(before, after, later);
  ASSERT_EQ(got["changes"].size(), changes.size());
  for (const ScoreChange& change : changes)
    EXPECT_EQ(std::ranges::count_if(got["changes"],
                                    [&](const json& found) {
                                      return found["role"] == name(change.role) &&
                                             found["layer"] == change.head.layer &&
                                             found["head"] == change.head.head &&
                                             found["after"] == change.after;
                                    }),
              1);
}

TEST_F(HeadsProgram, OneTextNamesNoHead) {
  for (const json& finding : report(first_)["findings"]) EXPECT_EQ(finding["named"], false);
  const Outcome outcome = heads(first_);
  EXPECT_EQ(outcome.status, 0);
  EXPECT_NE(outcome.output.find("No head is named: 1 text was given, and 10 are needed to tell one "
                                "of 32 heads from chance.\n"),
            std::string::npos)
      << outcome.output;
  EXPECT_EQ(outcome.output.find("interval of excess"), std::string::npos);
  EXPECT_NE(heads(first_ + " --without 0.0").output.find("no head was named\n"), std::string::npos);
}

TEST_F(HeadsProgram, ATextCountsOnce) {
  const std::string file = directory_.write("again", contents_[3]);
  const Outcome outcome = heads(texts_ + " '" + file + "'");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_NE(outcome.errors.find("FILE: expected different texts, got the same tokens in " +
                                directory_.file("3") + " and " + file),
            std::string::npos)
      << outcome.errors;
}

TEST_F(HeadsProgram, AlikeHeadsAndCopyingAreShown) {
  const json one = report(first_), many = report(texts_ + " --copying");
  EXPECT_EQ(one["alike"]["texts_needed"], 12);  // of 112 pairs
  EXPECT_TRUE(one["alike"]["clusters"].empty());
  EXPECT_TRUE(one["copying"].is_null());
  ASSERT_EQ(many["similarity"].size(), 4u);
  for (const json& layer : many["similarity"])
    for (int head = 0; head < 8; ++head) {
      EXPECT_NEAR(layer[head][head], 1, 1e-6);
      EXPECT_EQ(layer[head][3], layer[3][head]);
    }
  for (const json& cluster : many["alike"]["clusters"]) {
    EXPECT_GE(cluster["heads"].size(), 2u);
    EXPECT_LE(cluster["interval"][0], cluster["similarity"]);
  }
  ASSERT_EQ(many["copying"].size(), 4u);
  EXPECT_GT(many["copying"][1][0], 0.5);  // an induction head, which copies
  EXPECT_NE(heads(first_).output.find("Heads that attend alike: 12 texts are needed to tell.\n"),
            std::string::npos);
  EXPECT_NE(
      heads(texts_ + " --copying").output.find("layer  copying, of the weights alone\n    0 "),
      std::string::npos);
}

TEST_F(HeadsProgram, MarksTakeThePlaceOfSyntax) {
  const std::size_t tokens = Tokenizer::load(kModel).encode(contents_[0], false).size();
  std::vector<std::int64_t> before;
  for (std::size_t n = 0; n < tokens; ++n) before.push_back(static_cast<std::int64_t>(n) - 1);
  const json marks = {{"file", directory_.file("0")}, {"links", before}};
  const std::string file = directory_.write("marks", marks.dump());
  const json got = report(first_ + " --marks '" + file + "'")["findings"];
  const auto score = [&](const std::string& role) {
    for (const json& finding : got)
      if (finding["role"] == role && finding["layer"] == 0 && finding["head"] == 0)
        return finding["score"].get<double>();
    return -1.0;
  };
  EXPECT_GT(score("bracket"), 0.5);  // 0.0 looks at the token before
  const auto refuses = [&](const json& object, const std::string& message) {
    directory_.write("marks", object.dump());
    const Outcome outcome = heads(first_ + " --marks '" + file + "'");
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.errors.find(message), std::string::npos) << outcome.errors;
  };
  refuses({{"file", "other"}}, "marks line 1 file: expected one of the texts, got other");
  refuses({{"file", directory_.file("0")}, {"token_class", {1}}},
          "token_class: expected " + std::to_string(tokens) + " numbers, the tokens of ");
}

TEST_F(HeadsProgram, TablesHaveRolesAndEntropies) {
  const Outcome outcome = heads(texts_ + " --without 0.0");
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  for (const char* part : {"layer  roles", "entropy in nats", "role             head    score",
                           "without 0.0\n", "95% of the change", "Not tested: bracket"})
    EXPECT_NE(outcome.output.find(part), std::string::npos) << part << "\n" << outcome.output;
  EXPECT_NE(heads(first_ + " --without 4.0").errors.find("rapt: --without: expected LAYER.HEAD"),
            std::string::npos);
}

}  // namespace
}  // namespace rapt::test
