// Promise 1 at the edges of f32: logits of any magnitude, ties, denormals.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "cases.h"
#include "oracle.h"

namespace rapt::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// One head with D = 1 and scale 1, so that a logit is q times k with one rounding.
Problem scalar_problem(std::int64_t queries, std::int64_t keys) {
  Problem p;
  p.q_tokens = queries;
  p.kv_tokens = keys;
  p.head_dim = 1;
  p.v_head_dim = 3;
  p.scale = 1.0f;
  return p;
}

class LogitsOf : public testing::TestWithParam<float> {};

// Small integer multiples of one large number: differences are as large, equal keys tie exactly.
TEST_P(LogitsOf, AnyMagnitudeAndSign) {
  const float magnitude = GetParam();
  const std::int64_t keys = 1100;
  const Problem p = scalar_problem(4, keys);
  Tensor q({1, 4, 1, 1}), k({1, keys, 1, 1});
  const Tensor v = normal({1, keys, 1, 3}, 3);
  const float queries[] = {1.0f, -1.0f, 0.5f, 0.0f};
  for (int i = 0; i < 4; ++i) q.view.at(0, i, 0, 0) = queries[i];
  Rng rng(4);
  for (std::int64_t j = 0; j < keys; ++j)
    k.view.at(0, j, 0, 0) = magnitude * (static_cast<float>(rng.below(17) - 8) / 8);
  const Inputs in{q.view, k.view, v.view};
  const Oracle oracle(p, {}, in, {0, 1, 2, 3});
  for (const Isa isa : supported_isas()) {
    const ForcedIsa forced(isa);
    const Outputs out = run_attention(make_plan(p, Threads(1)), in);
    EXPECT_TRUE(within_bound(oracle, out.o.view, out.lse.view)) << name(isa);
  }
}
// 2.3e38 log2(e) is the largest that f32 holds.
INSTANTIATE_TEST_SUITE_P(Magnitudes, LogitsOf,
                         testing::Values(1e4f, 2.45e5f, 4e6f, 1e9f, 1e20f, 2.3e38f));

// A score is held in units of log2: beyond 2.36e38 it is infinite, and the special values follow.
TEST(Logits, BeyondTheRangeAreInfinite) {
  const Problem p = scalar_problem(2, 3);
  Tensor q({1, 2, 1, 1}), k({1, 3, 1, 1});
  const Tensor v = normal({1, 3, 1, 3}, 3);
  q.view.at(0, 0, 0, 0) = 1.0f;
  q.view.at(0, 1, 0, 0) = -1.0f;
  for (int j = 0; j < 3; ++j) k.view.at(0, j, 0, 0) = 3e38f;
  const Outputs out = run_attention(p, q.view, k.view, v.view);
  EXPECT_EQ(bits(out.lse.view.at(0, 0, 0, 0)), kNanBits);
  EXPECT_EQ(bits(out.o.view.at(0, 0, 0, 0)), kNanBits);
  EXPECT_EQ(out.lse.view.at(0, 0, 0, 1), -kInfinity);
  EXPECT_EQ(bits(out.o.view.at(0, 1, 0, 0)), 0u);
}

TEST(Logits, OfMinusInfinityWeighNothing) {
  const Problem p = scalar_problem(1, 600);
  Tensor q({1, 1, 1, 1}), k({1, 600, 1, 1});
  Tensor v = normal({1, 600, 1, 3}, 3);
  fill(q.view, 1.0f);
  fill(k.view, -kInfinity);
  const Outputs none = run_attention(p, q.view, k.view, v.view);
  EXPECT_EQ(none.lse.view.at(0, 0, 0, 0), -kInfinity);
  for (int e = 0; e < 3; ++e) EXPECT_EQ(bits(none.o.view.at(0, 0, 0, e)), 0u);

  k.view.at(0, 540, 0, 0) = -2.0f;  // one finite score takes all, in another chunk than most
  const Outputs one = run_attention(p, q.view, k.view, v.view);
  EXPECT_FLOAT_EQ(one.lse.view.at(0, 0, 0, 0), -2.0f);
  for (int e = 0; e < 3; ++e) EXPECT_FLOAT_EQ(one.o.view.at(0, 0, 0, e), v.view.at(0, 540, 0, e));
}

// Equal logits: the mean of the values, and lse = s + ln n.
TEST(Logits, EqualOnesAverage) {
  const Problem p = scalar_problem(1, 1024);
  Tensor q({1, 1, 1, 1}), k({1, 1024, 1, 1}), v({1, 1024, 1, 3});
  fill(q.view, 1.0f);
  fill(k.view, 0.0f);
  for (int j = 0; j < 1024; ++j)
    for (int e = 0; e < 3; ++e) v.view.at(0, j, 0, e) = static_cast<float>(j);
  const Outputs out = run_attention(p, q.view, k.view, v.view);
  EXPECT_EQ(out.o.view.at(0, 0, 0, 0), 511.5f);
  EXPECT_EQ(out.m.view.at(0, 0, 0, 0), 0.0f);
  EXPECT_EQ(out.l.view.at(0, 0, 0, 0), 1024.0f);
  EXPECT_FLOAT_EQ(out.lse.view.at(0, 0, 0, 0), std::log(1024.0f));
}

// One key: p = 1, so o is exactly v; a zero of either sign comes out as +0, a denormal as it is.
TEST(Logits, OneKeyGivesItsValue) {
  const Problem p = scalar_problem(1, 1);
  Tensor q({1, 1, 1, 1}), k({1, 1, 1, 1}), v({1, 1, 1, 3});
  fill(q.view, 0.0f);
  fill(k.view, 1.0f);
  v.view.at(0, 0, 0, 0) = 0x1p-149f;
  v.view.at(0, 0, 0, 1) = -0.0f;
  v.view.at(0, 0, 0, 2) = 0.1f;
  const Outputs out = run_attention(p, q.view, k.view, v.view);
  EXPECT_EQ(bits(out.o.view.at(0, 0, 0, 0)), bits(0x1p-149f));
  EXPECT_EQ(bits(out.o.view.at(0, 0, 0, 1)), bits(0.0f));
  EXPECT_EQ(bits(out.o.view.at(0, 0, 0, 2)), bits(0.1f));
}

// A sum that underflows from below is +0 after its chunk, and again after a merge: a -0 would
// depend on the hidden keys that follow.
TEST(Logits, UnderflowIsPlusZero) {
  for (const std::int64_t keys : {2, 513})  // one chunk, two chunks
    for (const Isa isa : supported_isas()) {
      const ForcedIsa forced(isa);
      const Problem p = scalar_problem(1, keys);
      Tensor q({1, 1, 1, 1}), k({1, keys, 1, 1}), v({1, keys, 1, 3});
      fill(q.view, 1.0f);
      const std::int64_t small = keys == 2 ? 1 : 0, large = keys == 2 ? 0 : 512;
      k.view.at(0, small, 0, 0) = keys == 2 ? -3.0f : 0.0f;
      k.view.at(0, large, 0, 0) = 9.0f;
      for (int e = 0; e < 3; ++e) v.view.at(0, small, 0, e) = -0x1p-149f;
      const Outputs out = run_attention(p, q.view, k.view, v.view);
      for (int e = 0; e < 3; ++e) EXPECT_EQ(bits(out.o.view.at(0, 0, 0, e)), 0u) << name(isa);
    }
}

// Denormal queries and keys: their scores are 0 or denormal, the softmax is uniform.
TEST(Logits, DenormalInputs) {
  AttentionCase c;
  c.q_tokens = 20;
  c.kv_tokens = 600;
  c.head_dim = 33;
  c.mask = &mask_named("causal");
  CaseInputs in(c);
  fill_normal(in.q.view, 1, 1e-40f);
  fill_normal(in.v.view, 3, 1e-40f);
  const Oracle oracle(c.problem(), c.mask->reference, in.inputs(), sample_rows(20, 20));
  const Outputs out = run_case(c, in);
  EXPECT_TRUE(within_bound(oracle, out.o.view, out.lse.view));
}

}  // namespace
}  // namespace rapt::test
