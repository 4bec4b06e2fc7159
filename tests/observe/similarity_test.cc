// Similarity of heads against the f64 matrix; a head that is there twice.

#include <gtest/gtest.h>

#include "hermetic/poison.h"
#include "rapt/head_similarity.h"
#include "statistics.h"

namespace rapt::test {
namespace {

AttentionCase similarity_case(const char* mask, Modifiers modifiers, std::int64_t queries,
                              std::int64_t keys) {
  AttentionCase c = observed_case(mask_named(mask), modifiers, queries, keys);
  c.q_heads = 6;
  c.padding = Padding::kRight;
  return c;
}

struct PairTruth {
  double bhattacharyya = 0, cosine = 0, kl = 0;
  std::int64_t rows = 0;
};

/// Means over the rows of both heads.
PairTruth pair_truth(const Problem& p, const ReferenceAttention<double>& exact, std::int64_t x,
                     std::int64_t y) {
  PairTruth truth;
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t i = 0; i < p.q_tokens; ++i) {
      const auto row = [&](std::int64_t h) {
        const double* a = exact.a.data() + ((b * p.q_heads + h) * p.q_tokens + i) * p.kv_tokens;
        std::vector<double> shares(a, a + p.kv_tokens);
        double sum = 0;
        for (const double w : shares) sum += w;
        for (double& w : shares) w /= sum;
        return sum > 0 ? shares : std::vector<double>();
      };
      const auto a_x = row(x), a_y = row(y);
      if (a_x.empty() || a_y.empty()) continue;
      double bc = 0, dot = 0, xx = 0, yy = 0, kl = 0;
      for (std::size_t j = 0; j < a_x.size(); ++j) {
        bc += std::sqrt(a_x[j] * a_y[j]);
        dot += a_x[j] * a_y[j];
        xx += a_x[j] * a_x[j];
        yy += a_y[j] * a_y[j];
        if (a_x[j] > 0) kl += a_x[j] * std::log(a_x[j] / a_y[j]);
      }
      truth.bhattacharyya += bc;
      truth.cosine += dot / std::sqrt(xx * yy);
      truth.kl += kl;
      ++truth.rows;
    }
  const auto rows = static_cast<double>(truth.rows);
  truth.bhattacharyya /= rows;
  truth.cosine /= rows;
  truth.kl /= rows;
  return truth;
}

TEST(HeadSimilarity, IsThatOfTheMatrix) {
  for (const AttentionCase& c : {similarity_case("causal", Modifiers::kNone, 130, 130),
                                 similarity_case("causal", Modifiers::kAll, 60, 1100),
                                 similarity_case("dense_or_window", Modifiers::kSinks, 90, 90),
                                 similarity_case("causal", Modifiers::kNone, 3, 600),
                                 similarity_case("blocks_of_heads", Modifiers::kNone, 70, 70)}) {
    SCOPED_TRACE(c.name());
    const CaseInputs in(c);
    const Problem p = c.problem();
    const Inputs inputs = in.inputs();
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < p.q_tokens; ++i) rows.push_back(i);
    const auto exact = reference_attention<double>(
        p, c.mask->reference, {inputs.q, inputs.k, inputs.v, inputs.bias}, rows);
    Scratch scratch;
    const HeadSimilarity got = head_similarity(p, inputs, Threads(2), scratch);
    for (std::int64_t x = 0; x < 6; ++x)
      for (std::int64_t y = 0; y < 6; ++y) {
        SCOPED_TRACE(std::to_string(x) + " and " + std::to_string(y));
        const PairTruth truth = pair_truth(p, exact, x, y);
        const auto at = static_cast<std::size_t>(x * 6 + y);
        ASSERT_EQ(got.rows[at], truth.rows);
        if (truth.rows == 0) continue;
        EXPECT_NEAR(got.bhattacharyya[at], truth.bhattacharyya, 1e-5);
        EXPECT_NEAR(got.cosine[at], truth.cosine, 1e-5);
        if (std::isinf(truth.kl))
          EXPECT_EQ(got.kl[at], truth.kl);
        else
          EXPECT_NEAR(got.kl[at], truth.kl, 1e-5 * std::max(1.0, truth.kl));
      }
  }
}

// Head 4 is head 1 again, with the same keys; head 5 is it with its queries turned round.
TEST(HeadSimilarity, FindsAHeadThatIsThereTwice) {
  AttentionCase c = similarity_case("causal", Modifiers::kNone, 100, 100);
  c.kv_heads = 1;
  const CaseInputs in(c);
  for_each_index({2, 100, 1, 16}, [&](auto b, auto i, auto, auto e) {
    in.q.view.at(b, i, 4, e) = in.q.view.at(b, i, 1, e);
    in.q.view.at(b, i, 5, e) = -in.q.view.at(b, i, 1, e);
  });
  Scratch scratch;
  const HeadSimilarity got = head_similarity(c.problem(), in.inputs(), Threads(1), scratch);
  EXPECT_NEAR(got.bhattacharyya[1 * 6 + 4], 1.0, 1e-6);
  EXPECT_NEAR(got.cosine[1 * 6 + 4], 1.0, 1e-6);
  EXPECT_NEAR(got.kl[1 * 6 + 4], 0.0, 1e-6);
  for (const std::size_t other : {0, 2, 3, 5}) {
    EXPECT_LT(got.bhattacharyya[6 + other], 0.95);
    EXPECT_GT(got.kl[6 + other], 0.1);
    EXPECT_GE(got.bhattacharyya[6 + other], got.bhattacharyya[1 * 6 + 5]);
  }
}

// Rows that are `gap` nats apart, each alone with one of two keys.
TEST(HeadSimilarity, DivergencesAreOfAnySize) {
  Problem p;
  p.q_tokens = 3;
  p.kv_tokens = p.q_heads = p.head_dim = 2;
  p.scale = 1.0f;
  const auto kl = [&](float gap) {
    Tensor q({1, 3, 2, 2}), k({1, 2, 1, 2});
    for (std::int64_t n = 0; n < 2; ++n) {
      k.view.at(0, n, 0, n) = 1.0f;
      for (std::int64_t i = 0; i < 3; ++i) q.view.at(0, i, n, n) = gap;
    }
    Scratch scratch;
    return head_similarity(p, {.q = q.view, .k = k.view}, Threads(2), scratch).kl[1];
  };
  for (const float gap : {1e3f, 1e9f, 1e11f}) EXPECT_NEAR(kl(gap) / gap, 1.0, 1e-5) << gap;
  EXPECT_EQ(kl(1e15f), 0x1p40);
}

TEST(HeadSimilarity, ScheduleAndInstructionSetShowInNoBit) {
  const AttentionCase c = similarity_case("causal", Modifiers::kAlibi, 70, 1100);
  const CaseInputs in(c);
  const Problem p = c.problem();
  const Inputs inputs = in.inputs();
  Scratch scratch;
  const HeadSimilarity one = head_similarity(p, inputs, Threads(1), scratch);
  for (const Isa isa : supported_isas())
    for (const int threads : {1, 4}) {
      const ForcedIsa forced(isa);
      const HeadSimilarity other = head_similarity(p, inputs, Threads(threads), scratch);
      EXPECT_EQ(other.bhattacharyya, one.bhattacharyya);
      EXPECT_EQ(other.cosine, one.cosine);
      EXPECT_EQ(other.kl, one.kl);
      EXPECT_EQ(other.rows, one.rows);
    }
}

TEST(HeadSimilarity, HiddenKeysTakeNoPartAndLiveNanDoes) {
  AttentionCase c = similarity_case("causal", Modifiers::kNone, 40, 40);
  c.padding = Padding::kNone;
  c.mask = &mask_named("causal");
  CaseInputs in(c);
  Problem p = c.problem();
  p.mask = Mask::causal() & Mask::sliding_window(8);
  p.q_ranges.assign(2, {30, 40});  // the rows of the last tokens alone
  Scratch scratch;
  const HeadSimilarity clean = head_similarity(p, in.inputs(), Threads(1), scratch);
  poison_token(in.k.view, 5, kNan);
  const HeadSimilarity poisoned = head_similarity(p, in.inputs(), Threads(1), scratch);
  EXPECT_EQ(poisoned.bhattacharyya, clean.bhattacharyya);
  EXPECT_EQ(poisoned.kl, clean.kl);
  poison_token(in.k.view, 35, kNan);
  const HeadSimilarity live = head_similarity(p, in.inputs(), Threads(1), scratch);
  for (const double x : live.bhattacharyya) EXPECT_TRUE(std::isnan(x));
  for (const double x : live.kl) EXPECT_TRUE(std::isnan(x));
}

}  // namespace
}  // namespace rapt::test
