#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

namespace rapt::test {

struct Outcome {
  std::string output, errors;  // stdout, stderr
  int status = -1;
};

inline std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A directory of a test's own, gone at its end.
class TestDirectory {
 public:
  TestDirectory() {
    std::string name = testing::TempDir() + "rapt_program_XXXXXX";
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no directory " + name);
    path_ = name;
  }
  ~TestDirectory() { std::filesystem::remove_all(path_); }

  std::string file(const std::string& name) const { return path_ / name; }
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// Runs a command line of bash; stdin is empty. The status is that of the first failure in a pipe.
inline Outcome shell(const std::string& command) {
  const TestDirectory directory;
  Outcome outcome;
  const std::string script = directory.write("script", "set -o pipefail\n" + command + "\n");
  const std::string line = "bash '" + script + "' </dev/null 2>'" + directory.file("errors") + "'";
  std::FILE* pipe = popen(line.c_str(), "r");
  if (pipe == nullptr) return outcome;
  std::array<char, 4096> buffer;
  for (std::size_t size; (size = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    outcome.output.append(buffer.data(), size);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) outcome.status = WEXITSTATUS(status);
  outcome.errors = content_of(directory.file("errors"));
  return outcome;
}

/// Runs `rapt` with `arguments`, which bash reads, and `variables` in its environment.
inline Outcome rapt(const std::string& arguments, const std::string& variables = "") {
  return shell(variables + " " RAPT_PROGRAM " " + arguments);
}

/// Tests that need the trained model.
class TrainedModel : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(model_)) GTEST_SKIP() << "no trained model at " << model_;
  }

  const std::string model_ = RAPT_TEST_DATA "/stories260K/hf";
};

}  // namespace rapt::test
