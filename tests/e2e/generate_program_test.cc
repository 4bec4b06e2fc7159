// `rapt generate` as a shell sees it.
#include <nlohmann/json.hpp>

#include "base/isa.h"
#include "program.h"
#include "rapt/sampler.h"
#include "rapt/session.h"
#include "rapt/tokenizer.h"

namespace rapt::test {
namespace {

using nlohmann::json;

class GenerateProgram : public TrainedModel {
 protected:
  Outcome generate(const std::string& arguments, const std::string& variables = "") const {
    return rapt("generate '" + model_ + "' " + arguments, variables);
  }
};

/// A prompt of about `words` tokens.
std::string long_prompt(int words) {
  std::string text = "Once";
  for (int n = 1; n < words; ++n) text += " the";
  return text;
}

TEST_F(GenerateProgram, PrintsThePromptAndItsContinuation) {
  const Outcome outcome = generate("-p 'The big dog' -n 7");
  EXPECT_EQ(outcome.output, "The big dog was a big, red b\n");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.errors.find("prompt: 5 tokens, "), 0u) << outcome.errors;
  EXPECT_NE(outcome.errors.find(" tokens/s; decode: 6 tokens, "), std::string::npos);
}

TEST_F(GenerateProgram, ThePromptMayComeFromStdin) {
  for (const char* arguments : {"-n 7", "-n 7 -p -"})
    EXPECT_EQ(shell("echo 'The big dog' | " RAPT_PROGRAM " generate '" + model_ + "' " + arguments)
                  .output,
              "The big dog was a big, red b\n")
        << arguments;
  EXPECT_EQ(
      shell("echo 'The cat' | " RAPT_PROGRAM " generate '" + model_ + "' -p 'The big dog' -n 1")
          .output,
      "The big dog was\n");
  EXPECT_EQ(generate("-p '' -n 3 </dev/null").output, "Once upon a\n");
}

TEST_F(GenerateProgram, AStdinThatCannotBeReadIsNoEmptyPrompt) {
  for (const char* input : {"</", "<&-"}) {
    const Outcome outcome = generate("-n 3 " + std::string(input));
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(outcome.output, "");
    EXPECT_EQ(outcome.errors.find("rapt: stdin: expected a prompt that can be read, got "), 0u)
        << outcome.errors;
  }
  const Outcome endless = generate("-n 3 </dev/zero");
  EXPECT_EQ(endless.status, 1);
  EXPECT_NE(endless.errors.find("stdin: expected a prompt of at most "), std::string::npos);
}

TEST(ModelArgument, AnEmptyOneIsNotOneLeftOut) {
  for (const char* command : {"info ''", "generate '' -p a"}) {
    const Outcome outcome = rapt(command);
    EXPECT_EQ(outcome.status, 2) << command;
    EXPECT_NE(outcome.errors.find("got an empty name"), std::string::npos) << outcome.errors;
  }
}

// The text is golden: it must be this one on every machine.
TEST_F(GenerateProgram, SampledTextIsTheSameForThreadsAndInstructionSets) {
  const std::string want =
      "The big dog lived in a park with his friends. They loved to play outside in the park every "
      "day. One day, they saw a bird\n";
  for (const Isa isa : supported_isas())
    for (const char* threads : {"1", "2", "3"})
      EXPECT_EQ(generate("-p 'The big dog' -n 40 --temperature 0.9 --top-k 50 --top-p 0.95 "
                         "--min-p 0.01 --repetition-penalty 1.1 --seed 7 --threads " +
                             std::string(threads),
                         "RAPT_FORCE_ISA=" + std::string(name(isa)))
                    .output,
                want)
          << name(isa) << ", threads " << threads;
}

TEST_F(GenerateProgram, EverySamplerOptionArrives) {
  const std::string plain = generate("-p 'The' -n 30 --temperature 1.5").output;
  for (const char* option : {"--seed 1", "--top-k 2", "--top-p 0.3", "--min-p 0.5",
                             "--repetition-penalty 5", "--temperature 0.1"})
    EXPECT_NE(generate("-p 'The' -n 30 --temperature 1.5 " + std::string(option)).output, plain)
        << option;
}

TEST_F(GenerateProgram, AFullContextIsStatus3) {
  const std::string text = long_prompt(505);
  const Outcome outcome = generate("-n 100 -p '" + text + "'");
  EXPECT_EQ(outcome.status, 3);
  EXPECT_EQ(outcome.output.find(text), 0u);  // what was written stays
  EXPECT_GT(outcome.output.size(), text.size() + 2);
  EXPECT_NE(outcome.errors.find("rapt: context: expected room for the whole text, got the model's "
                                "512 tokens full after "),
            std::string::npos)
      << outcome.errors;
  const json report = json::parse(generate("--json -n 100 -p '" + text + "'").output);
  EXPECT_EQ(report["finish_reason"], "context");
  EXPECT_EQ(report["prompt_tokens"].size() + report["tokens"].size(), 513u);  // the last is not fed

  const std::size_t room = report["tokens"].size();  // exactly what fits is no error
  EXPECT_EQ(generate("-n " + std::to_string(room) + " -p '" + text + "'").status, 0);

  const Outcome prompt = generate("-p '" + long_prompt(600) + "'");
  EXPECT_EQ(prompt.status, 3);
  EXPECT_EQ(prompt.output, "");
  EXPECT_EQ(prompt.errors.find("rapt: prompt: expected at most 512 tokens, the model's context"),
            0u);
}

TEST_F(GenerateProgram, JsonIsOneObjectOfTheStatedForm) {
  const Outcome outcome = generate("-p 'The big dog' -n 7 --json");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.errors, "");
  const json report = json::parse(outcome.output);
  EXPECT_EQ(report.size(), 9u);
  EXPECT_EQ(report["model"], model_);
  EXPECT_EQ(report["text"], "The big dog was a big, red b");
  EXPECT_EQ(report["prompt_tokens"].size(), 5u);
  EXPECT_EQ(report["tokens"].size(), 7u);
  EXPECT_EQ(report["logprobs"].size(), 7u);
  for (const double logprob : report["logprobs"]) EXPECT_LT(logprob, 0);
  EXPECT_EQ(report["finish_reason"], "length");
  EXPECT_GT(report["load"]["seconds"], 0.0);
  EXPECT_EQ(report["prefill"]["tokens"], 5);
  EXPECT_EQ(report["decode"]["tokens"], 6);
  for (const char* part : {"prefill", "decode"}) {
    EXPECT_GT(report[part]["seconds"], 0.0);
    EXPECT_NEAR(
        report[part]["tokens_per_second"].get<double>() * report[part]["seconds"].get<double>(),
        report[part]["tokens"].get<double>(), 1e-9);
  }
}

// Tokens may agree between types by luck, their probabilities do not.
TEST_F(GenerateProgram, TypesAreThoseOfTheLibrary) {
  const std::vector<std::int32_t> prompt = Tokenizer::load(model_).encode("The big dog");
  const auto of_library = [&](const ModelOptions& options) {
    Session session(Model::load(model_, options), Threads(1));
    json tokens = json::array(), logprobs = json::array();
    ConstTensor logits = session.prefill(prompt);
    for (int n = 0; n < 12; ++n) {
      if (n > 0) logits = session.decode(tokens.back());
      tokens.push_back(greedy(logits));
      logprobs.push_back(log_probability(logits, tokens.back()));
    }
    return json{tokens, logprobs};
  };
  const auto of_program = [&](const std::string& options) {
    const json report = json::parse(generate("-p 'The big dog' -n 12 --json" + options).output);
    return json{report["tokens"], report["logprobs"]};
  };
  const json plain = of_program("");
  EXPECT_EQ(plain, of_library({}));
  EXPECT_EQ(of_program(" --dtype f32"), plain);
  const std::pair<const char*, ModelOptions> types[] = {
      {" --dtype bf16", {WeightType::kBF16, DType::kBF16}},
      {" --weights int8", {WeightType::kInt8, DType::kF32}},
      {" --dtype bf16 --weights int8", {WeightType::kInt8, DType::kBF16}},
      {" --dtype native-bf16", {WeightType::kNativeBF16, DType::kBF16, Arithmetic::kNativeBF16}}};
  for (const auto& [options, types_of_library] : types) {
    EXPECT_EQ(of_program(options), of_library(types_of_library)) << options;
    EXPECT_NE(of_program(options), plain) << options;
  }
}

TEST_F(GenerateProgram, OtherTypesAreRefused) {
  const std::pair<const char*, const char*> refusals[] = {
      {"--dtype f16", "--dtype: expected f32|bf16|native-bf16, got 'f16'"},
      {"--dtype ''", "--dtype: expected f32|bf16|native-bf16, got ''"},
      {"--weights bf16", "--weights: expected int8, got 'bf16'"}};
  for (const auto& [options, message] : refusals) {
    const Outcome outcome = generate("-p a -n 1 " + std::string(options));
    EXPECT_EQ(outcome.status, 2) << options;
    EXPECT_EQ(outcome.output, "") << options;
    EXPECT_NE(outcome.errors.find(message), std::string::npos) << outcome.errors;
  }
}

TEST_F(GenerateProgram, BadPromptsAndModelsAreFailures) {
  EXPECT_EQ(generate("-p $'\\xff'").status, 1);
  EXPECT_NE(generate("-p $'\\xff'").errors.find("UTF-8"), std::string::npos);
  EXPECT_EQ(rapt("generate '" + model_ + "/config.json' -p a").status, 1);
}

TEST_F(GenerateProgram, AReaderThatLeavesEndsItQuietly) {
  const Outcome outcome = generate("-n 400 | head -c 4");
  EXPECT_EQ(outcome.output, "Once");
  EXPECT_EQ(outcome.errors, "");
  EXPECT_EQ(outcome.status, 0);
}

TEST_F(GenerateProgram, AFullDiskIsAFailure) { EXPECT_EQ(generate("-n 4 > /dev/full").status, 1); }

}  // namespace
}  // namespace rapt::test
