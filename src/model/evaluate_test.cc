#include "rapt/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <numeric>

#include "base/isa.h"
#include "model/model_test_files.h"
#include "rapt/error.h"
#include "rapt/sampler.h"
#include "rapt/session.h"

namespace rapt::test {
namespace {

using Tokens = std::vector<std::int32_t>;

Model small_model() { return Model::random(ModelConfig::parse(small_config().dump()), 1); }

Tokens some_tokens(int count) {
  Tokens tokens;
  for (int n = 0; n < count; ++n) tokens.push_back((n * n * 31 + 7 * n) % 300);
  return tokens;
}

/// -ln p of tokens[n] in the window that first holds it, by decoding that window from its start.
double plain_loss(const Model& model, const Tokens& beginning, const Tokens& tokens, int n,
                  int context, int stride) {
  const int room = context - static_cast<int>(beginning.size());
  int start = 0;
  while (start + room <= n) start += stride;
  Tokens before = beginning;
  before.insert(before.end(), tokens.begin() + start, tokens.begin() + n);
  Session session(model, Threads(1));
  ConstTensor logits;
  for (const std::int32_t token : before) logits = session.decode(token);
  return -log_probability(logits, tokens[n]);
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Evaluate, EveryTokenHasTheLossOfADecodingLoop) {
  const Model model = small_model();
  const Tokens tokens = some_tokens(43);
  for (const Tokens& beginning : {Tokens{}, Tokens{1}, Tokens{1, 2}})
    for (const int context : {5, 8, 16})
      for (const int stride : {1, 3}) {
        const Evaluation result =
            evaluate(model, Threads(1), beginning, tokens, {context, stride, {}});
        const int first = beginning.empty() ? 1 : 0;
        ASSERT_EQ(std::ssize(result.nats), 43 - first);
        for (int n = first; n < 43; ++n)
          ASSERT_EQ(result.nats[n - first],
                    plain_loss(model, beginning, tokens, n, context, stride))
              << "token " << n << " context " << context << " stride " << stride;
      }
}

TEST(Evaluate, WindowsAreScoredOnceAndSummed) {
  const Model model = small_model();
  std::vector<std::int64_t> done;
  const Evaluation result = evaluate(model, Threads(1), Tokens{1}, some_tokens(20),
                                     {8, 4, [&](std::int64_t n) { done.push_back(n); }});
  EXPECT_EQ(done, (std::vector<std::int64_t>{7, 11, 15, 19, 20}));
  ASSERT_EQ(result.windows.size(), 5u);
  std::size_t n = 0;
  for (std::size_t w = 0; w < 5; ++w) {
    EXPECT_EQ(result.windows[w].tokens, done[w] - (w == 0 ? 0 : done[w - 1]));
    double sum = 0;
    for (std::int64_t k = 0; k < result.windows[w].tokens; ++k) sum += result.nats[n++];
    EXPECT_EQ(result.windows[w].nats, sum);
  }
  EXPECT_EQ(result.total_nats(), std::accumulate(result.nats.begin(), result.nats.end(), 0.0));
}

TEST(Evaluate, DefaultsAreTheModelsContextAndHalfOfIt) {
  const Evaluation result = evaluate(small_model(), Threads(1), Tokens{1}, some_tokens(40));
  EXPECT_EQ(result.context, 16);
  EXPECT_EQ(result.stride, 8);
  EXPECT_EQ(evaluate(small_model(), Threads(1), Tokens{1, 1}, some_tokens(9), {3, 0, {}}).stride,
            1);
}

TEST(Evaluate, SameBitsForThreadsAndInstructionSets) {
  const Model model = small_model();
  const Tokens tokens = some_tokens(60);
  const Evaluation want = evaluate(model, Threads(1), Tokens{1}, tokens);
  for (const Isa isa : supported_isas())
    for (const int threads : {1, 2, 3}) {
      setenv("RAPT_FORCE_ISA", name(isa), 1);
      const Evaluation got = evaluate(model, Threads(threads), Tokens{1}, tokens);
      EXPECT_EQ(got.nats, want.nats) << name(isa) << ", threads " << threads;
      EXPECT_EQ(got.total_nats(), want.total_nats());
    }
  unsetenv("RAPT_FORCE_ISA");
}

TEST(Evaluate, WhatFollowsATokenDoesNotShow) {
  const Model model = small_model();
  const Tokens tokens = some_tokens(40);
  const Evaluation all = evaluate(model, Threads(1), Tokens{1}, tokens, {8, 3, {}});
  for (const int count : {1, 7, 8, 25}) {
    const Evaluation some =
        evaluate(model, Threads(1), Tokens{1}, std::span(tokens).first(count), {8, 3, {}});
    EXPECT_EQ(some.nats, std::vector<double>(all.nats.begin(), all.nats.begin() + count));
  }
}

TEST(Evaluate, RefusesWhatItCannotScore) {
  const Model model = small_model();
  const auto error = [&](const Tokens& beginning, int count, EvaluationOptions options) {
    return message_of([&] { evaluate(model, Threads(1), beginning, some_tokens(count), options); });
  };
  EXPECT_EQ(error({1}, 0, {}), "evaluate.tokens: expected more than 0 tokens, got 0");
  EXPECT_EQ(error({}, 1, {}), "evaluate.tokens: expected more than 1 tokens, got 1");
  EXPECT_EQ(error({1}, 9, {17, 0, {}}), "evaluate.context: expected 2 to 16 tokens, got 17");
  EXPECT_EQ(error({1, 1}, 9, {2, 0, {}}), "evaluate.context: expected 3 to 16 tokens, got 2");
  EXPECT_EQ(error({1}, 9, {-1, 0, {}}), "evaluate.context: expected 2 to 16 tokens, got -1");
  EXPECT_EQ(error({1}, 9, {8, 8, {}}), "evaluate.stride: expected 1 to 7 tokens, got 8");
  EXPECT_EQ(error({}, 9, {8, -1, {}}), "evaluate.stride: expected 1 to 7 tokens, got -1");
  EXPECT_EQ(message_of([&] {
              evaluate(model, Threads(1), Tokens{1}, Tokens{5, 300});
            }),
            "log_probability.token: expected 0 to 299, got 300");
}

TEST(Bootstrap, IsWithinTheWindowsAndFixed) {
  std::vector<WindowLoss> windows;
  for (int n = 0; n < 100; ++n) windows.push_back({10, 20.0 + n % 10});
  const Interval interval = bootstrap_interval(windows);
  // Means 2 to 2.9 in equal parts: 2.45, deviation 0.287 of one and 0.0287 of a mean of 100.
  EXPECT_NEAR(interval.low, 2.45 - 1.96 * 0.0287, 0.01);
  EXPECT_NEAR(interval.high, 2.45 + 1.96 * 0.0287, 0.01);
  const Interval again = bootstrap_interval(windows);
  EXPECT_EQ(interval.low, again.low);
  EXPECT_EQ(interval.high, again.high);
}

TEST(Bootstrap, WeighsWindowsByTheirTokens) {
  const Interval same = bootstrap_interval(std::vector<WindowLoss>{{1, 2.0}, {3, 6.0}});
  EXPECT_EQ(same.low, 2.0);
  EXPECT_EQ(same.high, 2.0);
}

TEST(Bootstrap, RefusesWhatHasNoSpread) {
  EXPECT_EQ(message_of([] {
              bootstrap_interval(std::vector<WindowLoss>{{5, 1.0}});
            }),
            "bootstrap_interval.windows: expected at least two, got 1");
  EXPECT_THROW(bootstrap_interval(std::vector<WindowLoss>{{5, 1.0}, {0, 0.0}}), Error);
  EXPECT_THROW(bootstrap_interval(std::vector<WindowLoss>{{5, 1.0}, {5, std::nan("")}}), Error);
}

}  // namespace
}  // namespace rapt::test
