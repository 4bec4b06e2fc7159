// The share of attention mass that a sparser mask keeps, against sums of the attention matrix.

#include "rapt/kept_mass.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "cases.h"
#include "paged_tokens.h"

namespace rapt::test {
namespace {

AttentionCase causal_case(Modifiers modifiers) {
  AttentionCase c;
  c.batch = 2;
  c.q_tokens = c.kv_tokens = 90;
  c.q_heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.mask = &mask_named("causal");
  c.modifiers = modifiers;
  return c;
}

TEST(KeptMass, IsTheSumOfTheWeightsThatAreLeft) {
  for (const auto modifiers : {Modifiers::kNone, Modifiers::kAll}) {
    const AttentionCase c = causal_case(modifiers);
    const CaseInputs in(c);
    const Problem p = c.problem();
    const Mask sparse = Mask::sliding_window(9);
    Scratch scratch;
    const auto kept = kept_mass(p, sparse, in.inputs(), Threads(1), scratch);
    const PagedSequences pages(p, in.k.view, in.v.view, 16);
    const auto of_pages =
        kept_mass(p, sparse, pages.inputs(in.q.view, in.inputs().bias), Threads(1), scratch);
    for (std::size_t h = 0; h < 4; ++h) EXPECT_EQ(of_pages[h].mean, kept[h].mean);
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < c.q_tokens; ++i) rows.push_back(i);
    Tensor a({2, 4, 90, 90});
    attention_rows(make_plan(p, Threads(1)), in.inputs(), scratch, rows, a.view);
    for (std::int64_t h = 0; h < 4; ++h) {
      double sum = 0, least = 1;
      std::int64_t rows_seen = 0;
      for (std::int64_t b = 0; b < 2; ++b)
        for (std::int64_t i = 0; i < 90; ++i) {
          double all = 0, row = 0;
          for (std::int64_t j = 0; j <= i; ++j) {
            all += a.view.at(b, h, i, j);
            if (i - j < 9) row += a.view.at(b, h, i, j);
          }
          if (all == 0) continue;  // biases hide every key
          ++rows_seen;
          sum += row / all;
          least = std::min(least, row / all);
        }
      EXPECT_EQ(kept[static_cast<std::size_t>(h)].rows, rows_seen);
      EXPECT_NEAR(kept[static_cast<std::size_t>(h)].mean, sum / static_cast<double>(rows_seen),
                  1e-6);
      EXPECT_NEAR(kept[static_cast<std::size_t>(h)].least, least, 1e-6);
    }
  }
}

// Sinks and padding are no rows: one query sees one key of ten.
TEST(KeptMass, CountsRowsThatSeeKeys) {
  Problem p;
  p.q_tokens = p.kv_tokens = 10;
  p.head_dim = 1;
  p.q_ranges = {{0, 1}};
  p.modifiers.sinks = {0.0f};
  const Tensor zeros({1, 10, 1, 1});
  const Inputs in{.q = zeros.view, .k = zeros.view, .v = zeros.view};
  Scratch scratch;
  const auto kept = kept_mass(p, Mask::prefix({3}), in, Threads(1), scratch);
  EXPECT_EQ(kept[0].rows, 1);
  EXPECT_NEAR(kept[0].mean, 0.3, 1e-6);
}

TEST(KeptMass, AllOrNothing) {
  const AttentionCase c = causal_case(Modifiers::kNone);
  const CaseInputs in(c);
  Scratch scratch;
  for (const KeptMass& kept :
       kept_mass(c.problem(), Mask::none(), in.inputs(), Threads(2), scratch)) {
    EXPECT_EQ(kept.mean, 1.0);
    EXPECT_EQ(kept.least, 1.0);
  }
  for (const KeptMass& kept :
       kept_mass(c.problem(), ~Mask::none(), in.inputs(), Threads(1), scratch)) {
    EXPECT_EQ(kept.mean, 0.0);
    EXPECT_EQ(kept.rows, 180);
  }
}

TEST(KeptMass, OfANanScoreIsNan) {
  const AttentionCase c = causal_case(Modifiers::kNone);
  CaseInputs in(c);
  in.q.view.at(0, 5, 1, 2) = std::numeric_limits<float>::quiet_NaN();
  Scratch scratch;
  const auto kept =
      kept_mass(c.problem(), Mask::sliding_window(3), in.inputs(), Threads(1), scratch);
  EXPECT_TRUE(std::isnan(kept[1].mean));
  EXPECT_TRUE(std::isnan(kept[1].least));
  EXPECT_FALSE(std::isnan(kept[0].mean));
}

// The blocks of largest score, the first of equal ones, NaN last.
TEST(BlockMaskTop, TakesTheLargestScores) {
  Tensor scores({1, 1, 2, 4});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float values[2][4] = {{1, 3, 3, 2}, {nan, -1, nan, -2}};
  for (int x = 0; x < 2; ++x)
    for (int y = 0; y < 4; ++y) scores.view.at(0, 0, x, y) = values[x][y];
  const BlockMask top = BlockMask::from_top({.q_blocks = 2, .kv_blocks = 4}, scores.view, 2);
  EXPECT_EQ(top.count(), 4);
  for (const int y : {1, 2}) EXPECT_TRUE(top.at(0, 0, 0, y));
  for (const int y : {1, 3}) EXPECT_TRUE(top.at(0, 0, 1, y));
}

TEST(BlockMaskTop, MeanScoresAreThoseOfTheMeans) {
  const Tensor q = normal({1, 10, 4, 6}, 1), k = normal({1, 7, 2, 6}, 2);
  Tensor scores({1, 4, 3, 2});
  mean_block_scores(q.view, k.view, 4, 5, scores.view);
  for_each_index(scores.view.extents, [&](auto b, auto h, auto x, auto y) {
    double dot = 0;
    for (int e = 0; e < 6; ++e) {
      double mean_q = 0, mean_k = 0;
      const std::int64_t q_end = std::min<std::int64_t>(10, 4 * x + 4),
                         k_end = std::min<std::int64_t>(7, 5 * y + 5);
      for (std::int64_t i = 4 * x; i < q_end; ++i)
        mean_q += q.view.at(b, i, h, e) / (q_end - 4.0 * x);
      for (std::int64_t j = 5 * y; j < k_end; ++j)
        mean_k += k.view.at(b, j, h / 2, e) / (k_end - 5.0 * y);
      dot += mean_q * mean_k;
    }
    EXPECT_NEAR(scores.view.at(b, h, x, y), dot / std::sqrt(6.0), 1e-6);
  });
}

}  // namespace
}  // namespace rapt::test
