// Largest keys of rows, and heads that copy a needle.

#include "rapt/retrieval.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "cases.h"
#include "paged_tokens.h"

namespace rapt::test {
namespace {

TEST(TopKeys, AreTheLargestScores) {
  AttentionCase c;
  c.batch = 2;
  c.q_tokens = 60;
  c.kv_tokens = 700;
  c.q_heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.mask = &mask_named("causal");
  c.modifiers = Modifiers::kAlibi;
  const CaseInputs in(c);
  const Problem p = c.problem();
  const Inputs inputs = in.inputs();
  const std::vector<std::int64_t> rows = {0, 17, 59};
  Scratch scratch;
  const auto top = top_keys(p, {.q = inputs.q, .k = inputs.k}, rows, 5, Threads(2), scratch);
  const PagedSequences pages(p, inputs.k, inputs.v, 16);
  EXPECT_EQ(top_keys(p, pages.inputs(inputs.q), rows, 5, Threads(1), scratch), top);
  Tensor scores({2, 4, 3, 700});
  attention_rows(make_plan(p, Threads(1)), inputs, scratch, rows, scores.view, RowKind::kScores);
  std::size_t n = 0;
  for_each_index({2, 4, 3, 1}, [&](auto b, auto h, auto row, auto) {
    std::vector<std::pair<float, std::int64_t>> keys;
    for (std::int64_t j = 0; j < 700; ++j) keys.emplace_back(-scores.view.at(b, h, row, j), j);
    std::sort(keys.begin(), keys.end());
    for (std::size_t k = 0; k < 5; ++k, ++n) EXPECT_EQ(top[n], keys[k].second);
  });
}

TEST(TopKeys, TiesGoToTheEarlierAndHiddenKeysAreNone) {
  Problem p;
  p.q_tokens = p.kv_tokens = 4;
  p.head_dim = 1;
  p.mask = Mask::causal();
  const Tensor zeros({1, 4, 1, 1});
  Scratch scratch;
  const Inputs in{.q = zeros.view, .k = zeros.view};
  EXPECT_EQ(top_keys(p, in, {1, 3}, 3, Threads(1), scratch),
            (std::vector<std::int64_t>{0, 1, -1, 0, 1, 2}));
  EXPECT_EQ(error_of([&] { top_keys(p, in, {1}, 5, Threads(1), scratch); }),
            "top_keys count: expected 1 to 4, got 5");
}

// Tokens 0 .. 9 with the needle 3 .. 6; head 0 looks at what it writes, head 1 at the key after, head
// 2 outside of the needle.
TEST(RetrievalScores, OfHeadsThatCopyAndThoseThatDoNot) {
  constexpr std::int64_t kTokens = 10, kSteps = 3;
  Problem p;
  p.q_tokens = kSteps;
  p.kv_tokens = kTokens;
  p.head_dim = kTokens;
  p.q_heads = 3;
  Tensor q({1, kSteps, 3, kTokens}), k({1, kTokens, 1, kTokens});
  for (std::int64_t j = 0; j < kTokens; ++j) k.view.at(0, j, 0, j) = 1.0f;
  RetrievalRun run{{0, 1, 2}, {13, 14, 15}, {}, {3, 6}};
  for (std::int32_t n = 0; n < kTokens; ++n) run.tokens.push_back(10 + n);
  for (std::int64_t i = 0; i < kSteps; ++i) {
    q.view.at(0, i, 0, 3 + i) = 9.0f;
    q.view.at(0, i, 1, 4 + i) = 9.0f;
    q.view.at(0, i, 2, 0) = 9.0f;
  }
  Scratch scratch;
  const Inputs in{.q = q.view, .k = k.view};
  EXPECT_EQ(retrieval_scores(p, in, run, Threads(1), scratch), (std::vector<double>{1, 0, 0}));
  run.emitted = {13, 13, 99};  // one of three tokens, and only once
  EXPECT_EQ(retrieval_scores(p, in, run, Threads(1), scratch)[0], 1.0 / 3);
  run.emitted = {13, 14, 13};
  run.tokens[5] = 13;  // of a needle that repeats a token, over its length
  EXPECT_EQ(retrieval_scores(p, in, run, Threads(1), scratch)[0], 2.0 / 3);
  run.emitted.pop_back();
  EXPECT_EQ(error_of([&] { retrieval_scores(p, in, run, Threads(1), scratch); }),
            "RetrievalRun.emitted: expected 3 tokens, one a row, got 2");
  run.emitted.push_back(15);
  run.needle = {3, 11};
  EXPECT_EQ(error_of([&] { retrieval_scores(p, in, run, Threads(1), scratch); }),
            "RetrievalRun.needle: expected some keys of 0 to 10, got [3, 11)");
}

}  // namespace
}  // namespace rapt::test
