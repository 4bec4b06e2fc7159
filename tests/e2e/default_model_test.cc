// The model that comes with rapt: what its card says of it, and the same text everywhere.
#include <nlohmann/json.hpp>

#include "base/isa.h"
#include "base/splitmix64.h"
#include "program.h"
#include "rapt/evaluate.h"

namespace rapt::test {
namespace {

std::vector<std::int32_t> random_tokens(const ModelConfig& config, std::uint64_t seed, int count) {
  std::vector<std::int32_t> tokens;
  for (int n = 1; n <= count; ++n)  // not 0, which begins a text
    tokens.push_back(1 + static_cast<std::int32_t>(splitmix64(seed, n) % (config.vocab_size - 1)));
  return tokens;
}

double mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// Random tokens say nothing of those that follow, until they come again.
TEST(DefaultModel, CopiesWhatItHasSeen) {
  const Model model = Model::load(RAPT_MODELS_DIR "/default");
  constexpr int kHalf = 128;
  double first = 0, second = 0;
  constexpr int kTexts = 8;
  for (int text = 0; text < kTexts; ++text) {
    std::vector<std::int32_t> tokens = random_tokens(model.config(), text, kHalf);
    tokens.insert(tokens.end(), tokens.begin(), tokens.begin() + kHalf);
    const Evaluation loss = evaluate(model, Threads(0), model.config().bos_token_ids, tokens);
    const std::span<const double> nats = loss.nats;
    first += mean(nats.first(kHalf)) / kTexts;
    second += mean(nats.last(kHalf)) / kTexts;
  }
  EXPECT_GT(first, 7);
  EXPECT_LT(second, 1.5);
}

TEST(DefaultModel, WritesFromNothing) {
  const Outcome outcome = rapt("generate -p '' -n 3 --json");
  ASSERT_EQ(outcome.status, 0) << outcome.errors;
  const auto result = nlohmann::json::parse(outcome.output);
  EXPECT_EQ(result.at("prompt_tokens"), std::vector<int>{0});  // a text begins with this token
  EXPECT_EQ(result.at("tokens").size(), 3);
}

TEST(DefaultModel, IsUsedWhereNoneIsNamed) {
  const Outcome outcome = rapt("info --json");
  ASSERT_EQ(outcome.status, 0) << outcome.errors;
  EXPECT_NE(outcome.output.find("\"parameters\": 1943232"), std::string::npos) << outcome.output;
}

// Golden: it must be this text on every machine.
TEST(DefaultModel, SampledTextIsTheSameForThreadsAndInstructionSets) {
  const std::string want = content_of(RAPT_GOLDEN_DIR "/default_model.txt");
  ASSERT_FALSE(want.empty());
  for (const Isa isa : supported_isas())
    for (const char* threads : {"1", "2", "3"})
      EXPECT_EQ(rapt("generate -p 'Once upon a time' -n 100 --temperature 0.8 --top-p 0.95 "
                     "--seed 1 --threads " +
                         std::string(threads),
                     "RAPT_FORCE_ISA=" + std::string(name(isa)))
                    .output,
                want)
          << name(isa) << ", threads " << threads;
}

TEST(DefaultModel, LossOfATextIsTheSameForThreadsAndInstructionSets) {
  const TestDirectory directory;
  const std::string file =
      directory.write("text", content_of(RAPT_GOLDEN_DIR "/default_model.txt"));
  const auto losses = [&](const std::string& threads, const std::string& isa) {
    const Outcome outcome =
        rapt("eval --json --threads " + threads + " -- '" + file + "'", "RAPT_FORCE_ISA=" + isa);
    EXPECT_EQ(outcome.status, 0) << outcome.errors;
    return nlohmann::json::parse(outcome.output).at("whole").at("nats").get<double>();
  };
  const double want = losses("1", "scalar");
  EXPECT_GT(want, 0);
  for (const Isa isa : supported_isas())
    for (const char* threads : {"1", "2", "3"}) EXPECT_EQ(losses(threads, name(isa)), want);
}

}  // namespace
}  // namespace rapt::test
