// Promise 3, hermetic: a bias of -inf hides, no finite one does.

#include <gtest/gtest.h>

#include "hermetic/poison.h"

namespace rapt::test {
namespace {

// Hidden biases may hold anything, and a bias of -inf hides what it belongs to.
TEST(Hermetic, BiasOfHiddenKeys) {
  for (const NamedMask& mask : masks()) {
    AttentionCase c;
    c.q_tokens = 60;
    c.kv_tokens = 600;
    c.q_heads = 2;
    c.head_dim = 6;
    c.mask = &mask;
    c.modifiers = Modifiers::kBias;
    SCOPED_TRACE(c.name());
    const Problem p = c.problem();
    CaseInputs in(c);
    Tensor bias({1, 2, 60, 600});
    fill_normal(bias.view, 4);
    in.bias = std::move(bias);
    const Outputs clean = run_case(c, in);
    for_each_index(in.bias.view.extents, [&](auto b, auto h, auto i, auto j) {
      if (!reference_visible(p, mask.reference, b, h, i, j))
        in.bias.view.at(b, h, i, j) = kPoisons[(i + j) % 6];
    });
    EXPECT_TRUE(same_bits(run_case(c, in), clean));

    fill_normal(in.bias.view, 4);
    const std::int64_t hidden = 70;
    for_each_index({1, 2, 60, 1}, [&](auto b, auto h, auto i, auto) {
      in.bias.view.at(b, h, i, hidden) = -kInfinity;
    });
    const Outputs without = run_case(c, in);
    poison_token(in.k.view, hidden, kNan);
    poison_token(in.v.view, hidden, kNan);
    EXPECT_TRUE(same_bits(run_case(c, in), without));
  }
}

// A row of the lowest finite biases, as masks of other libraries have it, weighs its keys alike.
TEST(Hermetic, LowestFiniteBiasOfAWholeRow) {
  AttentionCase c;
  c.q_tokens = 1;
  c.kv_tokens = 4;
  c.head_dim = 3;
  c.mask = &mask_named("none");
  c.modifiers = Modifiers::kBias;
  for (const float bias : {-kHuge, kHuge}) {
    CaseInputs in(c);
    in.bias = Tensor({1, 1, 1, 4});
    fill(in.bias.view, bias);
    const Outputs out = run_case(c, in);
    const auto v = [&](int j) { return in.v.view.at(0, j, 0, 1); };
    EXPECT_FLOAT_EQ(out.o.view.at(0, 0, 0, 1), (v(0) + v(1) + v(2) + v(3)) / 4) << bias;
    EXPECT_EQ(out.l.view.at(0, 0, 0, 0), 4.0f);
  }
}

// The lowest finite bias hides nothing: a live NaN behind it shows.
TEST(Hermetic, FiniteBiasHidesNothing) {
  AttentionCase c;
  c.q_tokens = 3;
  c.kv_tokens = 40;
  c.head_dim = 4;
  c.mask = &mask_named("none");
  c.modifiers = Modifiers::kBias;
  CaseInputs in(c);
  Tensor bias({1, 1, 3, 40});
  bias.view.at(0, 0, 1, 7) = -kHuge;
  in.bias = std::move(bias);
  in.v.view.at(0, 7, 0, 2) = kNan;
  const Outputs out = run_case(c, in);
  EXPECT_EQ(bits(out.o.view.at(0, 1, 0, 2)), kNanBits);
}

}  // namespace
}  // namespace rapt::test
