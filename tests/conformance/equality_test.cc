// Masks and problems are values: equal where they are made the same way, whoever made them.

#include <gtest/gtest.h>

#include <functional>

#include "cases.h"

namespace rapt::test {
namespace {

Problem problem_of(const char* mask) {
  AttentionCase c;
  c.batch = 2;
  c.q_tokens = c.kv_tokens = 40;
  c.q_heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.mask = &mask_named(mask);
  c.modifiers = Modifiers::kAll;
  c.positions = Positions::kGiven;
  c.padding = Padding::kMixed;
  return c.problem();
}

// Of the masks of the list, which differ in what they show, each equals itself made anew, also within
// others, and no other.
TEST(MaskEquality, IsByHowItIsMade) {
  const Problem p = problem_of("none");
  for (const NamedMask& a : masks())
    for (const NamedMask& b : masks()) {
      const Mask x = a.make(p), y = b.make(p);
      const bool same = a.name == b.name;
      SCOPED_TRACE(std::string(a.name) + ", " + b.name);
      EXPECT_EQ(x == y, same);
      EXPECT_EQ(~x == ~y, same);
      EXPECT_EQ((x | Mask::causal()) == (y | Mask::causal()), same);
      EXPECT_EQ((Mask::causal() & x) == (Mask::causal() & y), same);
      EXPECT_FALSE((x | Mask::strided(3)) == (x & Mask::strided(3)));
    }
}

TEST(MaskEquality, EveryParameterCounts) {
  const std::uint8_t bits[] = {1, 0, 1, 1, 1, 1};
  const auto dense = [&](int first) {
    return Mask::dense({bits + first, {1, 1, 1, 3}, {0, 0, 0, 1}});
  };
  const auto blocks = [](std::int64_t size, std::int64_t column) {
    BlockMask mask({.q_blocks = 2, .kv_blocks = 2, .q_block = size});
    mask.set(0, 0, 1, column);
    return Mask::blocks(mask);
  };
  const std::vector<Mask> different = {Mask::none(),
                                       Mask::causal(),
                                       Mask::causal_top_left(),
                                       Mask::window(3, 0),
                                       Mask::window(3, 1),
                                       Mask::strided(2),
                                       Mask::strided(3),
                                       Mask::prefix({3}),
                                       Mask::prefix({3, 4}),
                                       Mask::documents({{1, 1, 2}}),
                                       Mask::documents({{1, 2, 2}}),
                                       Mask::tree({{-1, 0}}),
                                       Mask::tree({{-1, -1}}),
                                       Mask::global({{1}}),
                                       Mask::global({{2}}),
                                       Mask::structure({{0, 1}}, {{true, false}, {true, true}}),
                                       Mask::structure({{0, 1}}, {{true, true}, {true, true}}),
                                       dense(0),
                                       dense(1),
                                       dense(3),
                                       blocks(64, 0),
                                       blocks(64, 1),
                                       blocks(32, 0)};
  for (std::size_t a = 0; a < different.size(); ++a)
    for (std::size_t b = 0; b < different.size(); ++b)
      EXPECT_EQ(different[a] == different[b], a == b)
          << different[a].describe() << ", " << different[b].describe();
  const std::uint8_t ones[] = {1, 1, 1};
  EXPECT_EQ(dense(3), Mask::dense({ones, {1, 1, 1, 3}, {0, 0, 0, 1}}));
}

TEST(ProblemEquality, EveryFieldCounts) {
  const std::function<void(Problem&)> changes[] = {
      [](Problem& p) { p.batch = 1; },
      [](Problem& p) { p.q_tokens = 41; },
      [](Problem& p) { p.kv_tokens = 41; },
      [](Problem& p) { p.q_heads = 2; },
      [](Problem& p) { p.kv_heads = 4; },
      [](Problem& p) { p.head_dim = 9; },
      [](Problem& p) { p.v_head_dim = 9; },
      [](Problem& p) { p.storage.v = DType::kF16; },
      [](Problem& p) { p.arithmetic = Arithmetic::kNativeBF16; },
      [](Problem& p) { p.mask = Mask::window(3, 0); },
      [](Problem& p) { p.modifiers.softcap = 7.0f; },
      [](Problem& p) { p.modifiers.alibi_slopes.back() += 1; },
      [](Problem& p) { p.modifiers.relative_bias->table.back() += 1; },
      [](Problem& p) { p.modifiers.additive_bias = false; },
      [](Problem& p) { p.modifiers.sinks.clear(); },
      [](Problem& p) { p.scale = 0.5f; },
      [](Problem& p) { p.q_ranges.back().begin += 1; },
      [](Problem& p) { p.kv_ranges.back().end -= 1; },
      [](Problem& p) { p.q_positions.back() += 1; },
      [](Problem& p) { p.kv_positions.clear(); }};
  const Problem problem = problem_of("causal");
  EXPECT_EQ(problem, problem_of("causal"));
  for (const auto& change : changes) {
    Problem changed = problem;
    change(changed);
    EXPECT_NE(changed, problem) << &change - changes;
  }
}

}  // namespace
}  // namespace rapt::test
