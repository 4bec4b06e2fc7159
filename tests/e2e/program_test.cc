// The program `rapt` as a shell sees it: usage, where it finds its model, exit status.
#include "program.h"

#include <nlohmann/json.hpp>

namespace rapt::test {
namespace {

TEST(Program, HelpAndVersionSucceed) {
  EXPECT_EQ(rapt("--version").output, "rapt " RAPT_VERSION "\n");
  EXPECT_EQ(rapt("--version").status, 0);
  for (const char* command : {"", "generate", "eval", "info", "bench"}) {
    const Outcome help = rapt(std::string(command) + " --help");
    EXPECT_EQ(help.status, 0) << command;
    EXPECT_NE(help.output.find("Usage: rapt"), std::string::npos) << command;
    EXPECT_NE(help.output.find("Examples:\n  rapt "), std::string::npos) << command;
    EXPECT_EQ(help.errors, "") << command;
  }
}

TEST(Program, WrongUsageIsStatus2) {
  for (const char* arguments :
       {"", "nonsense", "--nonsense", "generate x y", "generate x -n -1", "generate x -n a",
        "generate x --temperature -1", "generate x --top-p 1.5", "generate x --min-p 2",
        "generate x --top-k -1", "generate x --repetition-penalty 0", "generate x --seed -1",
        "generate x --threads 2000", "eval", "eval /", "eval / f --stride -1", "info a b",
        "bench --repeats 0"}) {
    const Outcome outcome = rapt(arguments);
    EXPECT_EQ(outcome.status, 2) << arguments;
    EXPECT_EQ(outcome.output, "") << arguments;
    EXPECT_NE(outcome.errors, "") << arguments;
  }
}

TEST(Program, NanIsWrongUsage) {
  for (const char* option : {"--temperature", "--top-p", "--min-p", "--repetition-penalty"})
    EXPECT_EQ(rapt("generate x " + std::string(option) + " nan").status, 2) << option;
}

TEST(Program, FailureIsStatus1AndNamesTheFile) {
  const Outcome outcome = rapt("generate /nowhere");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.errors.find("rapt: /nowhere/tokenizer.json: expected a readable file"), 0u);
}

TEST(Program, APathThatCannotBeAskedForIsNoDirectory) {
  const std::string path(5000, 'a'), wrong = "rapt: RAPT_MODEL: expected a model's directory";
  EXPECT_EQ(rapt("info", "RAPT_MODEL=" + path).errors.find(wrong), 0u);
  EXPECT_EQ(rapt("eval " + path, "RAPT_MODEL=/nowhere").errors.find(wrong), 0u);
}

TEST(Program, AWrongInstructionSetFailsBeforeAnythingIsPrinted) {
  for (const char* arguments : {"generate -p hello", "eval f", "info", "bench --list"}) {
    const Outcome outcome = rapt(arguments, "RAPT_FORCE_ISA=sse9");
    EXPECT_EQ(outcome.status, 1) << arguments;
    EXPECT_EQ(outcome.output, "") << arguments;
    EXPECT_EQ(outcome.errors.find("rapt: RAPT_FORCE_ISA: expected one of"), 0u) << arguments;
  }
}

TEST(Program, SaysWhereItLookedForAModel) {
  EXPECT_EQ(rapt("info", "RAPT_MODEL=/nowhere").errors,
            "rapt: RAPT_MODEL: expected a model's directory, got '/nowhere'\n");
  const TestDirectory prefix;  // of an installation without a model
  std::filesystem::create_directory(prefix.file("bin"));
  std::filesystem::copy_file(RAPT_PROGRAM, prefix.file("bin/rapt"));
  const Outcome outcome = shell("unset RAPT_MODEL; '" + prefix.file("bin/rapt") + "' info");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.errors,
            "rapt: MODEL: expected a model's directory as argument, in RAPT_MODEL, "
            "or at " +
                prefix.file("share/rapt/models/default") + ", got none of them\n");
}

class ModelSearch : public TrainedModel {};

TEST_F(ModelSearch, FindsTheModelBesideTheProgram) {
  const TestDirectory prefix;
  std::filesystem::create_directory(prefix.file("bin"));
  std::filesystem::copy_file(RAPT_PROGRAM, prefix.file("bin/rapt"));
  std::filesystem::create_directories(prefix.file("share/rapt/models"));
  std::filesystem::create_directory_symlink(std::filesystem::absolute(model_),
                                            prefix.file("share/rapt/models/default"));
  const std::string program = "unset RAPT_MODEL; '" + prefix.file("bin/rapt") + "' ";
  const std::string text = prefix.write("text", "Once upon a time");
  EXPECT_NE(shell(program + "info").output.find("260,032"), std::string::npos);
  EXPECT_EQ(shell(program + "generate -p 'The big dog' -n 7").output,
            "The big dog was a big, red b\n");
  EXPECT_EQ(shell(program + "eval '" + text + "'").status, 0);
}

TEST_F(ModelSearch, AnArgumentComesBeforeTheVariable) {
  EXPECT_EQ(rapt("info '" + model_ + "'", "RAPT_MODEL=/nowhere").status, 0);
  EXPECT_EQ(rapt("info", "RAPT_MODEL='" + model_ + "'").status, 0);
}

TEST(Program, InfoShowsTheAttentionOfEachLayer) {
  const TestDirectory model;
  model.write("config.json",
              R"({"architectures": ["Gemma2ForCausalLM"], "vocab_size": 8, "hidden_size": 8,
                  "intermediate_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2,
                  "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 64,
                  "sliding_window": 5, "attn_logit_softcapping": 50.0})");
  const std::string header = R"({"model.norm.weight":)"
                             R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  model.write("model.safetensors", static_cast<char>(header.size()) + std::string(7, '\0') +
                                       header + std::string(4, '\0'));
  const Outcome outcome = rapt("info '" + model.file("") + "'");
  EXPECT_EQ(outcome.errors, "");
  const std::string scores = ", scores capped at 50; positions rotary, theta 10000\n";
  EXPECT_NE(outcome.output.find("attention           by layer\n"
                                "  layer 0           causal over 5 tokens" +
                                scores + "  layer 1           causal" + scores +
                                "  layer 2           causal over 5 tokens" + scores),
            std::string::npos)
      << outcome.output;
  const auto json = nlohmann::json::parse(rapt("info --json '" + model.file("") + "'").output);
  EXPECT_EQ(json["attention"][2]["window"], 5);
  EXPECT_FALSE(json["attention"][1].contains("window"));
}

}  // namespace
}  // namespace rapt::test
