// `rapt ablate` as a shell sees it, on the default model.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "program.h"
#include "rapt/evaluate.h"
#include "rapt/head_interventions.h"
#include "rapt/statistics.h"
#include "rapt/tokenizer.h"

namespace rapt::test {
namespace {

using nlohmann::json;
using Tokens = std::vector<std::int32_t>;

const std::string kModel = RAPT_MODELS_DIR "/default";

/// Short texts of different lengths; those of 20 tokens and more have several windows.
std::string text_of(int n) {
  const char* const animals[] = {"dog", "bear", "little girl", "big red ball", "king", "whale"};
  std::string text = "Once there was a " + std::string(animals[n % 6]) + ".";
  for (int k = 0; k < n % 4; ++k)
    text += " It went to the park, and saw " + std::to_string(n) + ".";
  return text;
}

class AblateProgram : public testing::Test {
 protected:
  void SetUp() override {
    for (int n = 0; n < 6; ++n) {
      const std::string name = directory_.write(std::to_string(n) + ".txt", text_of(n));
      files_.push_back(name);
      texts_ += " '" + name + "'";
    }
  }

  Outcome ablate(const std::string& arguments) const {
    return rapt("ablate '" + kModel + "' --context 20 --threads 1 " + arguments);
  }
  json report(const std::string& arguments) const {
    json object = json::parse(ablate(arguments + " --json").output);
    object.erase("seconds");
    return object;
  }

  Tokens tokens(int n) const { return tokenizer_.encode(text_of(n), false); }
  double nats(int n, const HeadInterventions& interventions) const {
    const Tokens list = tokens(n);
    return evaluate(model_, Threads(1), tokenizer_.beginning(), list, {20, 19, {}, interventions})
        .total_nats();
  }

  const TestDirectory directory_;
  const Model model_ = Model::load(kModel);
  const Tokenizer tokenizer_ = Tokenizer::load(kModel);
  std::vector<std::string> files_;
  std::string texts_;
};

TEST_F(AblateProgram, FiguresAreThoseOfTheLibrary) {
  const json zero = report(texts_ + " --heads 0.0,2.5 --controls 0")["units"][0],
             gate = report(texts_ + " --heads 0.0,2.5 --controls 0 --method gate")["units"][0];
  std::vector<double> deltas, slopes;
  for (int n = 0; n < 6; ++n) {
    const auto with = [&](float factor) {
      HeadInterventions interventions;
      interventions.gate({0, 0}, factor);
      interventions.gate({2, 5}, factor);
      return nats(n, interventions);
    };
    const auto count = static_cast<double>(tokens(n).size());
    deltas.push_back((with(0) - with(1)) / count);
    slopes.push_back((with(1.0625) - with(0.9375)) / 0.125 / count);
    EXPECT_EQ(zero["texts"][n], deltas.back());
    EXPECT_EQ(gate["texts"][n], slopes.back());
  }
  EXPECT_EQ(zero["heads"], (json{{0, 0}, {2, 5}}));
  EXPECT_EQ(zero["nats_per_token"], mean_of(deltas));
  const Interval interval = bootstrap_mean_interval(deltas);
  EXPECT_EQ(zero["nats_per_token_95"], (json{interval.low, interval.high}));
  EXPECT_EQ(zero["p"], sign_flip_p(deltas));
  EXPECT_EQ(zero["q"], zero["p"]);  // of one
  EXPECT_EQ(gate["nats_per_token"], mean_of(slopes));
  for (double& slope : slopes) slope = std::abs(slope);
  EXPECT_EQ(gate["importance"], mean_of(slopes));
  EXPECT_NE(zero["nats_per_token"], 0.0);
}

TEST_F(AblateProgram, MeansAreOverTheWindowsAndResampledTextsAreOthers) {
  const std::string arguments = texts_ + " --heads 1.3 --controls 0 --method ";
  const json mean = report(arguments + "mean")["units"][0],
             resample = report(arguments + "resample")["units"][0];
  const HeadIndex head{1, 3};
  const auto begun = [&](auto begin, auto end) {
    Tokens window(tokenizer_.beginning().begin(), tokenizer_.beginning().end());
    window.insert(window.end(), begin, end);
    return window;
  };
  std::vector<Tokens> windows;
  for (int n = 0; n < 6; ++n) {
    const Tokens all = tokens(n);
    for (std::size_t at = 0; at < all.size(); at += 19)
      windows.push_back(begun(all.begin() + at, all.begin() + std::min(at + 19, all.size())));
  }
  HeadInterventions means;
  means.replace(head, head_output_means(model_, Threads(1), windows).of(head));
  for (const int n : {0, 3, 5}) {
    Tokens others;
    for (int k = 1; k < 6; ++k) {
      const Tokens next = tokens((n + k) % 6);
      others.insert(others.end(), next.begin(), next.end());
    }
    others.resize(std::min<std::size_t>(19, tokens(n).size()));
    HeadInterventions from_others;
    const HeadOutputs outputs =
        head_outputs(model_, Threads(1), begun(others.begin(), others.end()));
    from_others.replace(head, outputs.of(head));
    const auto count = static_cast<double>(tokens(n).size());
    EXPECT_EQ(mean["texts"][n], (nats(n, means) - nats(n, {})) / count);
    EXPECT_EQ(resample["texts"][n], (nats(n, from_others) - nats(n, {})) / count);
  }
}

TEST_F(AblateProgram, ConcludesOnlyFromEnoughTexts) {
  const json enough = report(texts_ + " --heads 0.0 --controls 2");
  EXPECT_EQ(enough["texts_needed"], 6);
  EXPECT_EQ(enough["concludes"], true);
  EXPECT_EQ(enough["units"].size(), 1u);
  EXPECT_EQ(enough["units"][0]["controls"]["nats_per_token"].size(), 2u);
  EXPECT_TRUE(enough["units"][0]["controls"]["p"].is_number());
  EXPECT_EQ(enough["units"][0]["unused"], false);
  const std::string few_texts = "'" + files_[1] + "' --heads 0.0 --controls 2";
  EXPECT_TRUE(report(few_texts)["units"][0]["controls"]["p"].is_null());
  EXPECT_EQ(ablate(few_texts).output.find(", p "), std::string::npos);
  EXPECT_NE(ablate(texts_ + " --heads 0.0 --controls 2").output.find(", p "), std::string::npos);
  const std::string one = "'" + files_[1] + "' --groups";
  const json few = report(one);
  EXPECT_EQ(few["texts_needed"], 9);  // for 4 layers of 2 groups
  EXPECT_EQ(few["concludes"], false);
  ASSERT_EQ(few["units"].size(), 8u);
  for (const json& unit : few["units"]) {
    for (const char* name : {"p", "q", "nats_per_token_95"}) EXPECT_TRUE(unit[name].is_null());
    EXPECT_EQ(unit["heads"].size(), 4u);
  }
  const Outcome table = ablate(one);
  EXPECT_EQ(table.status, 0);
  EXPECT_NE(table.output.find("No conclusion: 1 text was given, and 9 are needed to tell one of 8 "
                              "from chance.\n"),
            std::string::npos)
      << table.output;
  EXPECT_EQ(table.output.find("the loss rises"), std::string::npos);
  EXPECT_NE(table.output.find("keys and values are not: to remove those is another"),
            std::string::npos);
  EXPECT_NE(ablate(texts_ + " --heads 0.0 --controls 0").output.find(" of 1 differ from none"),
            std::string::npos);
}

TEST_F(AblateProgram, HalvesRankGatesByTheirImportance) {
  const json got =
      report(texts_ + " --method gate --heads 0.0 --heads 1.1 --heads 2.2 --controls 0");
  std::vector<std::vector<double>> sizes;
  for (const json& unit : got["units"]) {
    sizes.emplace_back();
    for (const json& slope : unit["texts"]) sizes.back().push_back(std::abs(slope.get<double>()));
  }
  ASSERT_EQ(got["texts_needed"], 7);
  EXPECT_TRUE(got["split_half"].is_null());  // of six texts
  directory_.write("6.txt", text_of(7));
  const json more = report(texts_ + " '" + directory_.file("6.txt") +
                           "' --method gate --heads 0.0 --heads 1.1 --heads 2.2 --controls 0");
  for (std::size_t n = 0; n < sizes.size(); ++n)
    sizes[n].push_back(std::abs(more["units"][n]["texts"][6].get<double>()));
  EXPECT_EQ(more["split_half"], split_half_correlation(sizes));
}

TEST_F(AblateProgram, ARunThatWasKilledGoesOnAsIfItHadNotBeen) {
  const std::string whole = directory_.file("whole"), cut = directory_.file("cut");
  const std::string arguments = texts_ + " --heads 0.0 --heads 1.1,1.2 --controls 1 -o ";
  const json want = report(arguments + whole);
  const std::string lines = content_of(whole);
  EXPECT_EQ(std::ranges::count(lines, '\n'), 1 + 6 * 5);
  EXPECT_EQ(report(arguments + whole), want);  // nothing is measured again
  for (const std::size_t bytes :
       {std::size_t{0}, std::size_t{5}, lines.size() / 2, lines.size() - 1}) {
    directory_.write("cut", lines.substr(0, bytes));
    EXPECT_EQ(report(arguments + cut), want) << bytes;
    EXPECT_EQ(content_of(cut), lines) << bytes;
  }
  // Another loss of the first text is another model's.
  const auto at = lines.find(R"("nats":)", lines.find(R"("unit":"none")")) + 7;
  directory_.write("cut", lines.substr(0, at) + "1" + lines.substr(at));
  const Outcome retrained = ablate(arguments + cut);
  EXPECT_EQ(retrained.status, 1);
  EXPECT_NE(retrained.errors.find("cut: expected results of this model, of "), std::string::npos)
      << retrained.errors;
  for (const char* other :
       {" --heads 0.1", " --method mean --heads 0.0 --heads 1.1,1.2 --controls 1"}) {
    const Outcome outcome = ablate(texts_ + other + " -o " + whole);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.errors.find("whole line 1: expected results of this model, these texts and "
                                  "options, got others"),
              std::string::npos)
        << outcome.errors;
  }
  EXPECT_EQ(content_of(whole), lines);
}

TEST_F(AblateProgram, RefusesHeadsThatTheModelHasNot) {
  const auto refuses = [&](const std::string& arguments, const std::string& message) {
    const Outcome outcome = ablate(arguments);
    EXPECT_NE(outcome.status, 0);
    EXPECT_NE(outcome.errors.find(message), std::string::npos) << outcome.errors;
  };
  for (const char* head : {"4.0", "0.8", "0", "0.", ".1", "-1.0", "0.0x", ""})
    refuses(texts_ + " --heads '0.1," + head + "'",
            "rapt: --heads: expected LAYER.HEAD of 4 layers and 8 heads, from 0, got '" +
                std::string(head) + "'");
  refuses(texts_ + " --heads 0.1,0.1", "--heads: expected different heads, got 0.1 twice");
  refuses(texts_ + " --heads 0.1 --heads 0.1", "--heads: expected different sets");
  refuses(texts_ + " --heads 0.1 --groups", "excludes");
  refuses(texts_ + " '" + files_[2] + "'",
          "rapt: FILE: expected different texts, got the same tokens in " + files_[2] + " and " +
              files_[2]);
  refuses(texts_ + " --method none", "expected zero|mean|resample|gate, got 'none'");
  refuses("'" + files_[0] + "' --method resample", "FILE: expected two texts or more");
  const Outcome outcome = rapt("ablate '" + kModel + "' --context 1" + texts_);
  EXPECT_EQ(outcome.errors, "rapt: --context: expected 2 to 512 tokens, got 1\n");
}

}  // namespace
}  // namespace rapt::test
