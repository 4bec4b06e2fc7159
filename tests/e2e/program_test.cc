// The program `rapt` as a shell sees it: output and exit status.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <string>

namespace rapt::test {
namespace {

struct Outcome {
  std::string output;  // stdout and stderr
  int status = -1;
};

/// Runs `rapt` with `arguments`, which a shell reads.
Outcome rapt(const std::string& arguments) {
  Outcome outcome;
  const std::string command = std::string(RAPT_PROGRAM) + " " + arguments + " 2>&1";
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return outcome;
  std::array<char, 4096> buffer;
  for (std::size_t size; (size = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    outcome.output.append(buffer.data(), size);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) outcome.status = WEXITSTATUS(status);
  return outcome;
}

TEST(Program, HelpAndVersionSucceed) {
  EXPECT_EQ(rapt("--version").output.find("rapt "), 0u);
  EXPECT_EQ(rapt("--version").status, 0);
  const Outcome help = rapt("generate --help");
  EXPECT_EQ(help.status, 0);
  for (const char* option : {"MODEL", "--prompt", "--tokens", "--threads", "--json"})
    EXPECT_NE(help.output.find(option), std::string::npos) << option;
}

TEST(Program, WrongUsageIsStatus2) {
  for (const char* arguments : {"", "nonsense", "generate", "generate x -n -1", "generate x -n a"})
    EXPECT_EQ(rapt(arguments).status, 2) << arguments;
}

TEST(Program, FailureIsStatus1AndNamesTheFile) {
  const Outcome outcome = rapt("generate /nowhere");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.output.find("rapt: /nowhere/tokenizer.json: expected a readable file"), 0u);
}

class GenerateProgram : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(model_)) GTEST_SKIP() << "no trained model at " << model_;
  }

  const std::string model_ = std::string(RAPT_TEST_DATA) + "/stories260K/hf";
};

TEST_F(GenerateProgram, PrintsThePromptAndItsContinuation) {
  const Outcome outcome = rapt("generate '" + model_ + "' -p 'The big dog' -n 7");
  EXPECT_EQ(outcome.output, "The big dog was a big, red b\n");
  EXPECT_EQ(outcome.status, 0);
}

TEST_F(GenerateProgram, AReaderThatLeavesEndsItQuietly) {
  const Outcome outcome = rapt("generate '" + model_ + "' -n 400 | head -c 4");
  EXPECT_EQ(outcome.output, "Once");
}

TEST_F(GenerateProgram, AFullDiskIsAFailure) {
  const Outcome outcome = rapt("generate '" + model_ + "' -n 4 > /dev/full");
  EXPECT_EQ(outcome.status, 1);
}

}  // namespace
}  // namespace rapt::test
