// A trained model against what an independent C program and an f64 network made of it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "model/mapped_file.h"
#include "model/safetensors.h"
#include "oracle.h"
#include "rapt/evaluate.h"
#include "rapt/sampler.h"
#include "rapt/session.h"
#include "rapt/tokenizer.h"

namespace rapt::test {
namespace {

class Stories : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(root_)) GTEST_SKIP() << "no trained model at " << root_;
  }

  const std::filesystem::path root_ = std::filesystem::path(RAPT_TEST_DATA) / "stories260K";
};

/// The text as the C program prints it: bytes that are no ASCII characters of their own are left
/// out. Tokens 3 to 258 are the bytes.
std::string without_fallback_bytes(const Tokenizer& tokenizer, std::vector<std::int32_t> tokens) {
  std::erase_if(tokens, [](std::int32_t token) { return token >= 3 + 0x80 && token < 3 + 0x100; });
  return tokenizer.decode(tokens);
}

TEST_F(Stories, GreedyTextAndProbabilitiesAreThoseOfTheCProgram) {
  const auto expected = nlohmann::json::parse(read_text(root_ / "expected" / "greedy.json"));
  const Model model = Model::load(root_ / "hf");
  const Tokenizer tokenizer = Tokenizer::load(root_ / "hf");
  ASSERT_EQ(expected["cases"].size(), 6u);
  for (const auto& want : expected["cases"]) {
    SCOPED_TRACE(want["prompt"].get<std::string>());
    const auto want_tokens = want["tokens"].get<std::vector<std::int32_t>>();
    std::vector<std::int32_t> tokens = tokenizer.encode(want["prompt"].get<std::string>());
    ASSERT_EQ(std::ssize(tokens), want["n_prompt_tokens"].get<std::int64_t>());

    Session session(model);
    const ConstTensor prompt = session.prefill(tokens, Logits::kAll);
    const auto row = [&](std::int64_t t) {
      return ConstTensor(&prompt.at(0, 0, t, 0), {1, 1, 1, model.config().vocab_size});
    };
    std::vector<double> logprobs;
    for (std::size_t t = 0; t + 1 < tokens.size(); ++t)
      logprobs.push_back(log_probability(row(t), tokens[t + 1]));
    for (ConstTensor logits = row(prompt.extents[2] - 1); tokens.size() < want_tokens.size();
         logits = session.decode(tokens.back())) {
      tokens.push_back(greedy(logits));
      logprobs.push_back(log_probability(logits, tokens.back()));
    }
    EXPECT_EQ(tokens, want_tokens);
    EXPECT_EQ(without_fallback_bytes(tokenizer, tokens), want["text"].get<std::string>());
    ASSERT_EQ(logprobs.size(), want["logprob_next"].size());
    for (std::size_t t = 0; t < logprobs.size(); ++t)
      ASSERT_NEAR(logprobs[t], want["logprob_next"][t].get<double>(), 1e-4) << "token " << t;
  }
}

template <class T>
std::vector<T> values(const SafetensorsFile& file, const std::string& name) {
  const FileTensor& tensor = file.tensor(name);
  std::vector<T> result(tensor.bytes.size() / sizeof(T));
  std::memcpy(result.data(), tensor.bytes.data(), tensor.bytes.size());
  return result;
}

/// [H, T, D] of a file as the [1, T, H, D] that attention takes.
ConstTensor heads_first(const std::vector<float>& data, const FileTensor& tensor) {
  const std::int64_t h = tensor.shape[0], t = tensor.shape[1], d = tensor.shape[2];
  return {data.data(), {1, t, h, d}, {h * t * d, d, t * d, 1}};
}

TEST_F(Stories, AttentionOfEveryLayerIsWithinTheErrorBound) {
  const SafetensorsFile file(root_ / "expected" / "attention_T256.safetensors");
  for (int layer = 0; layer < 5; ++layer) {
    const std::string prefix = "layer" + std::to_string(layer) + ".";
    SCOPED_TRACE(prefix);
    const auto q = values<float>(file, prefix + "q"), k = values<float>(file, prefix + "k"),
               v = values<float>(file, prefix + "v");
    const Inputs inputs = {heads_first(q, file.tensor(prefix + "q")),
                           heads_first(k, file.tensor(prefix + "k")),
                           heads_first(v, file.tensor(prefix + "v"))};
    Problem problem;
    problem.q_tokens = problem.kv_tokens = 256;
    problem.q_heads = 8;
    problem.kv_heads = 4;
    problem.head_dim = 8;
    problem.mask = Mask::causal();
    Tensor o({1, 256, 8, 8}), lse({1, 1, 8, 256});
    Scratch scratch;
    run(make_plan(problem, Threads(2)), inputs, scratch, {o.view, lse.view, {}, {}});

    std::vector<std::int64_t> rows(256);
    std::iota(rows.begin(), rows.end(), 0);
    Oracle oracle(problem, reference_causal(), inputs, rows);
    oracle.exact.o = values<double>(file, prefix + "out");  // the file's truth, not our own
    oracle.exact.lse = values<double>(file, prefix + "lse");
    EXPECT_TRUE(within_bound(oracle, o.view, lse.view));
  }
}

TEST_F(Stories, LogitsAreThoseOfTheExactNetwork) {
  const SafetensorsFile file(root_ / "expected" / "attention_T256.safetensors");
  std::vector<std::int32_t> tokens;
  for (const std::int64_t token : values<std::int64_t>(file, "tokens"))
    tokens.push_back(static_cast<std::int32_t>(token));
  const auto exact = values<double>(file, "logits");
  Session session(Model::load(root_ / "hf"));
  const ConstTensor logits = session.prefill(tokens, Logits::kAll);
  ASSERT_EQ(static_cast<std::size_t>(logits.extents[2] * logits.extents[3]), exact.size());
  double worst = 0;
  for (std::size_t n = 0; n < exact.size(); ++n)
    worst = std::max(worst, std::abs(logits.data[n] - exact[n]));
  EXPECT_LT(worst, 1e-4);  // logits reach 20: some ten roundings of them
}

TEST_F(Stories, LossesAreThoseOfTheExactNetwork) {
  const SafetensorsFile file(root_ / "expected" / "attention_T256.safetensors");
  std::vector<std::int32_t> tokens;
  for (const std::int64_t token : values<std::int64_t>(file, "tokens"))
    tokens.push_back(static_cast<std::int32_t>(token));
  const auto exact = values<double>(file, "logits");
  const std::span<const std::int32_t> all(tokens);
  const Evaluation got =
      evaluate(Model::load(root_ / "hf"), Threads(2), all.first(1), all.subspan(1));
  ASSERT_EQ(got.nats.size() + 1, tokens.size());
  const std::size_t vocab = exact.size() / tokens.size();
  double total = 0;
  for (std::size_t t = 0; t + 1 < tokens.size(); ++t) {
    double sum = 0;
    for (std::size_t n = 0; n < vocab; ++n) sum += std::exp(exact[t * vocab + n]);
    const double loss = std::log(sum) - exact[t * vocab + tokens[t + 1]];
    ASSERT_NEAR(got.nats[t], loss, 1e-4) << "token " << t;
    total += loss;
  }
  EXPECT_NEAR(got.total_nats(), total, 1e-4 * std::sqrt(256));
}

}  // namespace
}  // namespace rapt::test
