// Merging finished (o, lse) pairs: within promise 1, though not the bits of one run.

#include <gtest/gtest.h>

#include <limits>

#include "cases.h"
#include "oracle.h"

namespace rapt::test {
namespace {

Outputs run_over(const AttentionCase& c, const CaseInputs& in, std::int64_t begin,
                 std::int64_t end) {
  Problem p = c.problem();
  p.kv_tokens = end - begin;
  return run_attention(p, in.q.view, tokens(ConstTensor(in.k.view), begin, end - begin),
                       tokens(ConstTensor(in.v.view), begin, end - begin));
}

AttentionCase cross_attention() {
  AttentionCase c;
  c.batch = 2;
  c.q_tokens = 30;
  c.kv_tokens = 900;
  c.q_heads = 4;
  c.kv_heads = 2;
  c.head_dim = 24;
  c.v_head_dim = 17;
  c.mask = &mask_named("none");
  return c;
}

TEST(MergeFinished, IsWithinTheBound) {
  for (const auto values : {Values::kNormal, Values::kPeaked, Values::kLarge})
    for (const std::int64_t cut : {0, 1, 100, 512, 899, 900}) {
      AttentionCase c = cross_attention();
      c.values = values;
      SCOPED_TRACE(testing::Message() << c.name() << ", cut at " << cut);
      const CaseInputs in(c);
      const Oracle oracle(c.problem(), c.mask->reference, in.inputs(), sample_rows(c.q_tokens, 30));
      const Outputs a = run_over(c, in, 0, cut), b = run_over(c, in, cut, c.kv_tokens);
      Outputs out(c.problem());
      const auto pair = [](const Outputs& x) { return Result{x.o.view, x.lse.view, {}, {}}; };
      merge_finished(pair(a), pair(b), pair(out));
      EXPECT_TRUE(within_bound(oracle, out.o.view, out.lse.view));
      merge_finished(pair(a), pair(b), pair(a));  // in place
      EXPECT_TRUE(same_bits(a.o.view, out.o.view));
      EXPECT_TRUE(same_bits(a.lse.view, out.lse.view));
    }
}

TEST(MergeFinished, EmptySidesAndNan) {
  Tensor o[3] = {Tensor({1, 1, 3, 1}), Tensor({1, 1, 3, 1}), Tensor({1, 1, 3, 1})};
  Tensor lse[3] = {Tensor({1, 1, 3, 1}), Tensor({1, 1, 3, 1}), Tensor({1, 1, 3, 1})};
  constexpr float kEmpty = -std::numeric_limits<float>::infinity();
  const float a_lse[] = {kEmpty, 2.0f, std::numeric_limits<float>::quiet_NaN()};
  const float b_lse[] = {kEmpty, kEmpty, 1.0f};
  for (int h = 0; h < 3; ++h) {
    lse[0].view.at(0, 0, h, 0) = a_lse[h];
    lse[1].view.at(0, 0, h, 0) = b_lse[h];
    o[0].view.at(0, 0, h, 0) = h == 0 ? 0.0f : 7.0f;
    o[1].view.at(0, 0, h, 0) = h == 2 ? 5.0f : 0.0f;
  }
  merge_finished({o[0].view, lse[0].view, {}, {}}, {o[1].view, lse[1].view, {}, {}},
                 {o[2].view, lse[2].view, {}, {}});
  EXPECT_EQ(bits(o[2].view.at(0, 0, 0, 0)), 0u);
  EXPECT_EQ(lse[2].view.at(0, 0, 0, 0), kEmpty);
  EXPECT_EQ(o[2].view.at(0, 0, 1, 0), 7.0f);
  EXPECT_EQ(lse[2].view.at(0, 0, 1, 0), 2.0f);
  EXPECT_EQ(bits(o[2].view.at(0, 0, 2, 0)), kNanBits);
  EXPECT_EQ(bits(lse[2].view.at(0, 0, 2, 0)), kNanBits);
}

}  // namespace
}  // namespace rapt::test
