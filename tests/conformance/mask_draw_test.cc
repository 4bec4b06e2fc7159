// Pictures of every kind of mask, as literal text.

#include <gtest/gtest.h>

#include "rapt/problem.h"
#include "util.h"

namespace rapt::test {
namespace {

Problem problem_of(std::int64_t q_tokens, std::int64_t kv_tokens, const Mask& mask) {
  Problem p;
  p.q_tokens = q_tokens;
  p.kv_tokens = kv_tokens;
  p.head_dim = 1;
  p.mask = mask;
  return p;
}

/// The picture, after a line break as raw strings begin.
std::string drawn(std::int64_t q_tokens, std::int64_t kv_tokens, const Mask& mask) {
  return "\n" + Mask::draw(problem_of(q_tokens, kv_tokens, mask));
}

TEST(MaskDraw, None) {
  EXPECT_EQ(drawn(12, 12, Mask::none()), R"(
# # # # # # # # # # # #
# # # # # # # # # # # #
# # # # # # # # # # # #
# # # # # # # # # # # #
# # # # # # # # # # # #
# # # # # # # # # # # #
# # # # # # # # # # # #
# # # # # # # # # # # #
# # # # # # # # # # # #
# # # # # # # # # # # #
# # # # # # # # # # # #
# # # # # # # # # # # #
)");
}

TEST(MaskDraw, Causal) {
  EXPECT_EQ(drawn(12, 12, Mask::causal()), R"(
# . . . . . . . . . . .
# # . . . . . . . . . .
# # # . . . . . . . . .
# # # # . . . . . . . .
# # # # # . . . . . . .
# # # # # # . . . . . .
# # # # # # # . . . . .
# # # # # # # # . . . .
# # # # # # # # # . . .
# # # # # # # # # # . .
# # # # # # # # # # # .
# # # # # # # # # # # #
)");
}

TEST(MaskDraw, SlidingWindow) {
  EXPECT_EQ(drawn(12, 12, Mask::sliding_window(4)), R"(
# . . . . . . . . . . .
# # . . . . . . . . . .
# # # . . . . . . . . .
# # # # . . . . . . . .
. # # # # . . . . . . .
. . # # # # . . . . . .
. . . # # # # . . . . .
. . . . # # # # . . . .
. . . . . # # # # . . .
. . . . . . # # # # . .
. . . . . . . # # # # .
. . . . . . . . # # # #
)");
}

TEST(MaskDraw, Window) {
  EXPECT_EQ(drawn(12, 12, Mask::window(2, 3)), R"(
# # # # . . . . . . . .
# # # # # . . . . . . .
# # # # # # . . . . . .
. # # # # # # . . . . .
. . # # # # # # . . . .
. . . # # # # # # . . .
. . . . # # # # # # . .
. . . . . # # # # # # .
. . . . . . # # # # # #
. . . . . . . # # # # #
. . . . . . . . # # # #
. . . . . . . . . # # #
)");
}

TEST(MaskDraw, Strided) {
  EXPECT_EQ(drawn(12, 12, Mask::strided(5)), R"(
# . . . . # . . . . # .
. # . . . . # . . . . #
. . # . . . . # . . . .
. . . # . . . . # . . .
. . . . # . . . . # . .
# . . . . # . . . . # .
. # . . . . # . . . . #
. . # . . . . # . . . .
. . . # . . . . # . . .
. . . . # . . . . # . .
# . . . . # . . . . # .
. # . . . . # . . . . #
)");
}

TEST(MaskDraw, DilatedWindow) {
  EXPECT_EQ(drawn(12, 12, Mask::dilated_window(3, 2)), R"(
# . . . . . . . . . . .
. # . . . . . . . . . .
# . # . . . . . . . . .
. # . # . . . . . . . .
# . # . # . . . . . . .
. # . # . # . . . . . .
. . # . # . # . . . . .
. . . # . # . # . . . .
. . . . # . # . # . . .
. . . . . # . # . # . .
. . . . . . # . # . # .
. . . . . . . # . # . #
)");
}

TEST(MaskDraw, PrefixOrCausal) {
  EXPECT_EQ(drawn(12, 12, Mask::causal() | Mask::prefix({5})), R"(
# # # # # . . . . . . .
# # # # # . . . . . . .
# # # # # . . . . . . .
# # # # # . . . . . . .
# # # # # . . . . . . .
# # # # # # . . . . . .
# # # # # # # . . . . .
# # # # # # # # . . . .
# # # # # # # # # . . .
# # # # # # # # # # . .
# # # # # # # # # # # .
# # # # # # # # # # # #
)");
}

TEST(MaskDraw, Documents) {
  EXPECT_EQ(drawn(12, 12, Mask::documents({{7, 7, 7, 7, 9, 9, 9, 9, 9, 7, 7, 2}})), R"(
# # # # . . . . . # # .
# # # # . . . . . # # .
# # # # . . . . . # # .
# # # # . . . . . # # .
. . . . # # # # # . . .
. . . . # # # # # . . .
. . . . # # # # # . . .
. . . . # # # # # . . .
. . . . # # # # # . . .
# # # # . . . . . # # .
# # # # . . . . . # # .
. . . . . . . . . . . #
)");
}

TEST(MaskDraw, DocumentsFromOffsetsAndCausal) {
  EXPECT_EQ(drawn(12, 12, Mask::documents_from_offsets({{0, 5, 5, 9, 12}}) & Mask::causal()), R"(
# . . . . . . . . . . .
# # . . . . . . . . . .
# # # . . . . . . . . .
# # # # . . . . . . . .
# # # # # . . . . . . .
. . . . . # . . . . . .
. . . . . # # . . . . .
. . . . . # # # . . . .
. . . . . # # # # . . .
. . . . . . . . . # . .
. . . . . . . . . # # .
. . . . . . . . . # # #
)");
}

TEST(MaskDraw, Structure) {
  EXPECT_EQ(drawn(12, 12,
                  Mask::structure({{0, 0, 0, 1, 1, 1, 1, 2, 2, 1, 1, 2}},
                                  {{true, false, false}, {true, true, false}, {true, true, true}})),
            R"(
# # # . . . . . . . . .
# # # . . . . . . . . .
# # # . . . . . . . . .
# # # # # # # . . # # .
# # # # # # # . . # # .
# # # # # # # . . # # .
# # # # # # # . . # # .
# # # # # # # # # # # #
# # # # # # # # # # # #
# # # # # # # . . # # .
# # # # # # # . . # # .
# # # # # # # # # # # #
)");
}

TEST(MaskDraw, Global) {
  EXPECT_EQ(drawn(12, 12, Mask::global({{0, 7}})), R"(
# # # # # # # # # # # #
# . . . . . . # . . . .
# . . . . . . # . . . .
# . . . . . . # . . . .
# . . . . . . # . . . .
# . . . . . . # . . . .
# . . . . . . # . . . .
# # # # # # # # # # # #
# . . . . . . # . . . .
# . . . . . . # . . . .
# . . . . . . # . . . .
# . . . . . . # . . . .
)");
}

TEST(MaskDraw, Tree) {
  EXPECT_EQ(drawn(12, 12, Mask::tree({{-1, 0, 0, 1, -1}})), R"(
# . . . . . . . . . . .
# # . . . . . . . . . .
# # # . . . . . . . . .
# # # # . . . . . . . .
# # # # # . . . . . . .
# # # # # # . . . . . .
# # # # # # # . . . . .
# # # # # # # # . . . .
# # # # # # # # # . . .
# # # # # # # # . # . .
# # # # # # # # # . # .
# # # # # # # . . . . #
)");
}

TEST(MaskDraw, Blocks) {
  EXPECT_EQ(
      drawn(12, 12,
            Mask::blocks(BlockMask::from_indices({1, 1, 4, 3, 3, 4}, {{0}, {0, 2}, {1}, {0, 2}}))),
      R"(
# # # # . . . . . . . .
# # # # . . . . . . . .
# # # # . . . . . . . .
# # # # . . . . # # # #
# # # # . . . . # # # #
# # # # . . . . # # # #
. . . . # # # # . . . .
. . . . # # # # . . . .
. . . . # # # # . . . .
# # # # . . . . # # # #
# # # # . . . . # # # #
# # # # . . . . # # # #
)");
}

TEST(MaskDraw, Dense) {
  std::vector<std::uint8_t> bits;
  for (int i = 0; i < 12; ++i)
    for (int j = 0; j < 12; ++j) bits.push_back(i * j % 5 == 1);
  EXPECT_EQ(drawn(12, 12, Mask::dense({bits.data(), {1, 1, 12, 12}})), R"(
. . . . . . . . . . . .
. # . . . . # . . . . #
. . . # . . . . # . . .
. . # . . . . # . . . .
. . . . # . . . . # . .
. . . . . . . . . . . .
. # . . . . # . . . . #
. . . # . . . . # . . .
. . # . . . . # . . . .
. . . . # . . . . # . .
. . . . . . . . . . . .
. # . . . . # . . . . #
)");
}

TEST(MaskDraw, Not) {
  EXPECT_EQ(drawn(12, 12, ~Mask::window(2, 3)), R"(
. . . . # # # # # # # #
. . . . . # # # # # # #
. . . . . . # # # # # #
# . . . . . . # # # # #
# # . . . . . . # # # #
# # # . . . . . . # # #
# # # # . . . . . . # #
# # # # # . . . . . . #
# # # # # # . . . . . .
# # # # # # # . . . . .
# # # # # # # # . . . .
# # # # # # # # # . . .
)");
}

TEST(MaskDraw, CausalStandsAtTheBottomRight) {
  EXPECT_EQ(drawn(5, 8, Mask::causal()), R"(
# # # # . . . .
# # # # # . . .
# # # # # # . .
# # # # # # # .
# # # # # # # #
)");
  EXPECT_EQ(drawn(8, 5, Mask::causal()), R"(
. . . . .
. . . . .
. . . . .
# . . . .
# # . . .
# # # . .
# # # # .
# # # # #
)");
}

TEST(MaskDraw, CausalFromTheTopLeft) {
  EXPECT_EQ(drawn(5, 8, Mask::causal_top_left()), R"(
# . . . . . . .
# # . . . . . .
# # # . . . . .
# # # # . . . .
# # # # # . . .
)");
  EXPECT_EQ(drawn(8, 5, Mask::causal_top_left()), R"(
# . . . .
# # . . .
# # # . .
# # # # .
# # # # #
# # # # #
# # # # #
# # # # #
)");
}

TEST(MaskDraw, PaddingIsHidden) {
  Problem p = problem_of(8, 10, Mask::causal());
  p.q_ranges = {{1, 7}};
  p.kv_ranges = {{2, 9}};
  EXPECT_EQ("\n" + Mask::draw(p), R"(
. . . . . . . . . .
. . # # . . . . . .
. . # # # . . . . .
. . # # # # . . . .
. . # # # # # . . .
. . # # # # # # . .
. . # # # # # # # .
. . . . . . . . . .
)");
}

TEST(MaskDraw, PositionsAreThoseOfTheProblem) {
  Problem p = problem_of(4, 6, Mask::window(2, 1));
  p.q_positions = {1, 5, 0, 8};
  p.kv_positions = {3, 1, 0, 2, 9, 5};
  EXPECT_EQ("\n" + Mask::draw(p), R"(
. # # # . .
# . . . . #
. # # . . .
. . . . # .
)");
}

TEST(MaskDraw, OneSequenceAndHead) {
  std::vector<std::uint8_t> bits(2 * 2 * 2 * 3, 0);
  bits[2 * 6 + 4] = 1;  // b 1, h 0, i 1, j 1
  Problem p = problem_of(2, 3, Mask::dense({bits.data(), {2, 2, 2, 3}}));
  p.batch = p.q_heads = 2;
  EXPECT_EQ(Mask::draw(p, 1, 0), ". . .\n. # .\n");
  EXPECT_EQ(Mask::draw(p, 1, 1), ". . .\n. . .\n");
  EXPECT_EQ(Mask::draw(p, 0, 0), ". . .\n. . .\n");
}

TEST(MaskDraw, EmptyProblems) {
  EXPECT_EQ(Mask::draw(problem_of(0, 3, Mask::causal())), "");
  EXPECT_EQ(Mask::draw(problem_of(2, 0, Mask::causal())), "\n\n");
}

// 64 tokens have a cell each; of 65 and more, two share one, and the last cell may be smaller.
TEST(MaskDraw, LongProblemsShowBlocks) {
  std::string picture;
  for (int line = 0; line < 35; ++line) {
    for (int column = 0; column < 35; ++column)
      picture += std::string(column > 0 ? " " : "") + (column < line   ? "#"
                                                       : column > line ? "."
                                                       : line == 34    ? "#"
                                                                       : "+");
    picture += "\n";
  }
  EXPECT_EQ(Mask::draw(problem_of(69, 69, Mask::causal())), picture);
  const std::string one_a_token = Mask::draw(problem_of(64, 64, Mask::causal()));
  EXPECT_EQ(one_a_token.size(), 64u * 128u);
  EXPECT_EQ(one_a_token.find('+'), std::string::npos);
  // Cells of 16 tokens, over two chunks; the queries are those of the last 12 keys.
  std::string tail = "+";
  for (int column = 1; column < 64; ++column) tail += column < 63 ? " #" : " +";
  EXPECT_EQ(Mask::draw(problem_of(12, 1024, Mask::window(1020, 0))), tail + "\n");
}

}  // namespace
}  // namespace rapt::test
