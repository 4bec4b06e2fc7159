// Damaged files: each is read, or is an Error; never anything else.
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "model/model_test_files.h"
#include "model/safetensors.h"
#include "rapt/error.h"
#include "rapt/model.h"
#include "rapt/tokenizer.h"

namespace rapt::test {
namespace {

// Copies, overwrites, removes or repeats a few bytes.
std::string mutate(std::string text, std::mt19937_64& random) {
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  for (std::size_t times = 1 + below(3); times > 0 && !text.empty(); --times) {
    const std::size_t at = below(text.size()), count = 1 + below(8), from = below(text.size());
    switch (below(4)) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text.erase(at, count);
        break;
      case 2:
        text.insert(at, text.substr(from, count));
        break;
      default:
        text[at] = "0123456789{}[]\",:-.e"[below(20)];
        break;
    }
  }
  return text;
}

/// Runs `read` on mutations of `file`; returns how many were refused.
int refused(const std::string& file, int rounds,
            const std::function<void(const std::string&)>& read) {
  std::mt19937_64 random(1);
  int count = 0;
  for (int round = 0; round < rounds; ++round) {
    try {
      read(mutate(file, random));
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("FILE"), 0u) << error.what();
      ++count;
    }
  }
  return count;
}

TEST(Mutation, Config) {
  EXPECT_GT(refused(small_config().dump(), 3000,
                    [](const std::string& text) { ModelConfig::parse(text, "FILE"); }),
            1000);
}

TEST(Mutation, Tokenizer) {
  EXPECT_GT(refused(small_tokenizer().dump(), 500,
                    [](const std::string& text) {
                      const Tokenizer tokenizer = Tokenizer::parse(text, "FILE");
                      tokenizer.decode(tokenizer.encode("abc é </s> ab"));
                    }),
            100);
}

TEST(Mutation, Safetensors) {
  const std::string file =
      safetensors(R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
                  R"("b":{"dtype":"F16","shape":[4],"data_offsets":[16,24]}})",
                  std::string(24, 'x'));
  unsigned sum = 0;
  EXPECT_GT(refused(file, 3000,
                    [&](const std::string& text) {
                      for (const auto& [name, tensor] : parse_safetensors(bytes_of(text), "FILE"))
                        for (const std::byte byte : tensor.bytes)
                          sum += static_cast<unsigned>(byte);
                    }),
            1000);
  EXPECT_GT(sum, 0u);
}

}  // namespace
}  // namespace rapt::test
