// `rapt convert`: the models that it writes run, and nothing half written stays.
#include <fcntl.h>
#include <pty.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "program.h"
#include "zero_model.h"

namespace rapt::test {
namespace {

using namespace std::chrono_literals;

const std::string kModel = RAPT_MODELS_DIR "/default";

std::size_t entries(const std::string& directory) {
  const std::filesystem::directory_iterator all(directory);
  return std::distance(begin(all), end(all));
}

TEST(ConvertProgram, TheModelRunsAndReportsWhatItHas) {
  const TestDirectory directory;
  const std::string to = directory.file("mqa");
  const Outcome outcome = rapt("convert " + kModel + " --kv-heads 1 --json -o '" + to + "'");
  ASSERT_EQ(outcome.status, 0) << outcome.errors;
  EXPECT_EQ(outcome.errors, "");
  const auto result = nlohmann::json::parse(outcome.output);
  EXPECT_EQ(result.at("model"), kModel);
  EXPECT_EQ(result.at("output"), to);
  EXPECT_EQ(result.at("before").at("kv_heads"), 2);
  EXPECT_EQ(result.at("after").at("kv_heads"), 1);
  EXPECT_EQ(result.at("before").at("parameters"), 1943232);
  EXPECT_EQ(result.at("after").at("parameters"), 1943232 - 4 * 2 * 24 * 192);
  EXPECT_EQ(result.at("before").at("cache_bytes_per_token"), 4 * 2 * (24 + 32) * 4);
  EXPECT_EQ(result.at("after").at("cache_bytes_per_token"), 4 * 1 * (24 + 32) * 4);
  const Outcome text = rapt("generate '" + to + "' -p Once -n 5");
  EXPECT_EQ(text.status, 0) << text.errors;
  EXPECT_EQ(text.output.find("Once"), 0u) << text.output;
}

TEST(ConvertProgram, PrintsBothModels) {
  const TestDirectory directory;
  const Outcome outcome = rapt("convert --kv-heads 1 -o '" + directory.file("mqa") + "'");
  ASSERT_EQ(outcome.status, 0) << outcome.errors;
  EXPECT_NE(outcome.output.find("2 -> 1\n"), std::string::npos) << outcome.output;
  EXPECT_NE(outcome.output.find("1792 -> 896\n"), std::string::npos) << outcome.output;
}

TEST(ConvertProgram, WrongUsageIsStatus2) {
  const TestDirectory directory;
  const std::string to = " -o '" + directory.file("to") + "'";
  for (const std::string& arguments : {"" + to, "--kv-heads 1" + std::string(), "--kv-heads 0" + to,
                                       "--kv-heads x" + to, std::string("--kv-heads 1 -o ''")})
    EXPECT_EQ(rapt("convert " + arguments).status, 2) << arguments;
  EXPECT_EQ(entries(directory.file("")), 0u);
}

TEST(ConvertProgram, FailureIsStatus1AndLeavesNothing) {
  const TestDirectory directory;
  const std::string to = directory.file("to"), output = " -o '" + to + "'";
  const Outcome three = rapt("convert --kv-heads 3" + output);
  EXPECT_EQ(three.status, 1);
  EXPECT_EQ(three.errors, "rapt: kv_heads: expected a divisor of num_key_value_heads (2), got 3\n");
  // A disk that is full after the first 1,000 KiB.
  const Outcome full =
      shell("trap '' XFSZ; ulimit -f 1000; " RAPT_PROGRAM " convert --kv-heads 1" + output);
  EXPECT_EQ(full.status, 1);
  EXPECT_NE(full.errors.find("model.safetensors: expected to be written"), std::string::npos)
      << full.errors;
  EXPECT_EQ(entries(directory.file("")), 0u);
  std::filesystem::create_directory(to);
  const Outcome exists = rapt("convert --kv-heads 1" + output);
  EXPECT_EQ(exists.status, 1);
  EXPECT_EQ(exists.errors, "rapt: " + to + ": expected a new directory, got one that exists\n");
  EXPECT_EQ(entries(directory.file("")), 1u);
}

/// A terminal that takes no output until it is released: who writes to it waits.
class HeldTerminal {
 public:
  HeldTerminal() {
    if (openpty(&master_, &slave_, nullptr, nullptr, nullptr) != 0)
      throw std::runtime_error("no terminal");
    fcntl(master_, F_SETFD, FD_CLOEXEC);
    tcflow(slave_, TCOOFF);
  }
  ~HeldTerminal() {
    close(slave_);
    close(master_);
  }

  int slave() const { return slave_; }
  void release() const { tcflow(slave_, TCOON); }
  std::string read_some() const {
    char buffer[4096];
    return {buffer, static_cast<std::size_t>(std::max<ssize_t>(read(master_, buffer, 4096), 0))};
  }

 private:
  int master_, slave_;
};

/// Starts a conversion of the default model whose errors go to the terminal.
pid_t start(const HeldTerminal& terminal, const std::string& to) {
  const pid_t child = fork();
  if (child != 0) return child;
  dup2(terminal.slave(), STDERR_FILENO);
  dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
  execl(RAPT_PROGRAM, "rapt", "convert", kModel.c_str(), "--kv-heads", "1", "-o", to.c_str(),
        nullptr);
  _exit(127);
}

int status_of(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(ConvertProgram, ShowsProgressOnATerminal) {
  const TestDirectory directory;
  const HeldTerminal terminal;
  terminal.release();
  EXPECT_EQ(status_of(start(terminal, directory.file("to"))), 0);
  EXPECT_NE(terminal.read_some().find("converting: 0 of 3 MiB"), std::string::npos);
}

TEST(ConvertProgram, AfterCtrlCNothingIsLeft) {
  const TestDirectory directory;
  const HeldTerminal terminal;
  const pid_t child = start(terminal, directory.file("to"));
  // Once it has begun, it waits to show its progress, or is about to.
  for (int wait = 0; entries(directory.file("")) == 0 && wait < 3000; ++wait)
    std::this_thread::sleep_for(10ms);
  EXPECT_EQ(entries(directory.file("")), 1u);
  kill(child, SIGINT);
  terminal.release();
  EXPECT_EQ(status_of(child), 130);
  EXPECT_EQ(entries(directory.file("")), 0u);
}

/// A model of zeros whose embedding has 128 MiB, and little else.
void write_large_model(const TestDirectory& directory) {
  constexpr int kVocabulary = 1 << 19, kHidden = 64;
  nlohmann::json config = nlohmann::json::parse(content_of(kModel + "/config.json"));
  config["vocab_size"] = kVocabulary;
  config["hidden_size"] = kHidden;
  config["num_hidden_layers"] = 1;
  directory.write("config.json", config.dump());
  write_zeros(directory, "F32",
              {{"model.embed_tokens.weight", {kVocabulary, kHidden}},
               {"model.layers.0.self_attn.k_proj.weight", {2 * 24, kHidden}},
               {"model.layers.0.self_attn.v_proj.weight", {2 * 24, kHidden}}});
}

TEST(ConvertProgram, MemoryDoesNotGrowWithTheModel) {
  const TestDirectory directory;
  write_large_model(directory);
  const Measured run =
      measure({"convert", directory.file(""), "--kv-heads", "1", "-o", directory.file("to")});
  EXPECT_EQ(run.status, 0);
  EXPECT_GT(std::filesystem::file_size(directory.file("to/model.safetensors")), 128u << 20);
  EXPECT_LT(run.peak_bytes, std::size_t{64} << 20);
}

}  // namespace
}  // namespace rapt::test
