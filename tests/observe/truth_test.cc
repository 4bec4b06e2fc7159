// Heads of which the statistics are known, each with one of which they are not.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "rapt/observe.h"
#include "util.h"

namespace rapt::test {
namespace {

constexpr std::int64_t kTokens = 96;

/// Causal heads over kTokens tokens, each given by the score of query i with key j.
class Heads {
 public:
  using Score = std::function<double(std::int64_t i, std::int64_t j)>;

  /// q_i is the row of scores, k_j one-hot: every head is as it is described.
  explicit Heads(const std::vector<Score>& scores)
      : q_({1, kTokens, std::ssize(scores), kTokens}), k_({1, kTokens, 1, kTokens}) {
    problem.q_tokens = problem.kv_tokens = problem.head_dim = kTokens;
    problem.q_heads = std::ssize(scores);
    problem.mask = Mask::causal();
    problem.scale = 1.0f;
    for (std::int64_t i = 0; i < kTokens; ++i) {
      k_.view.at(0, i, 0, i) = 1.0f;
      for (std::int64_t h = 0; h < problem.q_heads; ++h)
        for (std::int64_t j = 0; j <= i; ++j)
          q_.view.at(0, i, h, j) = static_cast<float>(scores[static_cast<std::size_t>(h)](i, j));
    }
  }

  HeadStatistics observe(ObserveOptions options) const {
    Scratch scratch;
    options.keep_rows = true;
    return rapt::observe(problem, {.q = q_.view, .k = k_.view}, options, Threads(1), scratch);
  }

  Problem problem;

 private:
  Tensor q_, k_;
};

ObserveOptions of(std::vector<RowMetric> metrics) {
  ObserveOptions options;
  options.metrics = std::move(metrics);
  return options;
}

double uniform(std::int64_t, std::int64_t) { return 0.0; }

Heads::Score at_distance(std::int64_t distance) {
  return [=](std::int64_t i, std::int64_t j) { return i - j == distance ? 40.0 : 0.0; };
}

TEST(ObserveTruth, UniformAndOneHotEntropies) {
  const Heads heads({uniform, at_distance(0)});
  const auto got =
      heads.observe(of({RowMetric::kEntropy, RowMetric::kNormalisedEntropy, RowMetric::kSupport,
                        RowMetric::kRenyiSupport, RowMetric::kConfidence}));
  for (std::int64_t i = 0; i < kTokens; ++i) {
    const auto at = [&](RowMetric metric, std::int64_t h) {
      return got.row_values(metric, 0, h)[static_cast<std::size_t>(i)];
    };
    const auto n = static_cast<double>(i + 1);
    EXPECT_EQ(at(RowMetric::kEntropy, 0), static_cast<float>(std::log(n)));
    EXPECT_EQ(at(RowMetric::kNormalisedEntropy, 0), i == 0 ? 0.0f : 1.0f);
    EXPECT_NEAR(at(RowMetric::kSupport, 0), n, 1e-5 * n);
    EXPECT_EQ(at(RowMetric::kRenyiSupport, 0), static_cast<float>(n));
    EXPECT_EQ(at(RowMetric::kConfidence, 0), static_cast<float>(1 / n));
    EXPECT_NEAR(at(RowMetric::kEntropy, 1), 0.0, 1e-6);
    EXPECT_NEAR(at(RowMetric::kSupport, 1), 1.0, 1e-6);
    EXPECT_NEAR(at(RowMetric::kConfidence, 1), 1.0, 1e-6);
  }
  EXPECT_EQ(got.count(RowMetric::kNormalisedEntropy, 0), kTokens - 1);
  EXPECT_EQ(got.mean(RowMetric::kNormalisedEntropy, 0), 1.0);
}

TEST(ObserveTruth, PreviousTokenHead) {
  const Heads heads({at_distance(1), at_distance(2), uniform});
  ObserveOptions options =
      of({RowMetric::kPreviousToken, RowMetric::kLookback, RowMetric::kLocality});
  options.distances = true;
  options.window = 2;
  const auto got = heads.observe(options);
  EXPECT_NEAR(got.mean(RowMetric::kPreviousToken, 0), 1.0, 1e-6);
  EXPECT_EQ(got.count(RowMetric::kPreviousToken, 0), kTokens - 1);
  EXPECT_LT(got.mean(RowMetric::kPreviousToken, 1), 0.02);
  EXPECT_LT(got.mean(RowMetric::kPreviousToken, 2), 0.06);
  EXPECT_NEAR(got.mean(RowMetric::kLookback, 0), (kTokens - 1.0) / kTokens, 1e-6);
  EXPECT_NEAR(got.mean(RowMetric::kLocality, 0), 1.0, 1e-6);
  EXPECT_LT(got.mean(RowMetric::kLocality, 1), 0.05);
  EXPECT_NEAR(got.distance_mass(0)[2], (kTokens - 1.0) / kTokens, 1e-6);
  EXPECT_NEAR(got.distance_mass(1)[3], (kTokens - 2.0) / kTokens, 1e-6);
  EXPECT_LT(got.distance_mass(1)[2], 0.02);
}

TEST(ObserveTruth, SinkHead) {
  const auto sink = [](std::int64_t, std::int64_t j) { return j == 0 ? 40.0 : 0.0; };
  const auto second = [](std::int64_t, std::int64_t j) { return j == 1 ? 40.0 : 0.0; };
  const Heads heads({sink, second, uniform});
  const auto got = heads.observe(of({RowMetric::kSinkMass}));
  EXPECT_NEAR(got.mean(RowMetric::kSinkMass, 0), 1.0, 1e-6);
  EXPECT_LT(got.mean(RowMetric::kSinkMass, 1), 0.02);  // the first row sees no other key
  EXPECT_LT(got.mean(RowMetric::kSinkMass, 2), 0.1);
  ObserveOptions two = of({RowMetric::kSinkMass});
  two.sink_tokens = 2;
  EXPECT_NEAR(heads.observe(two).mean(RowMetric::kSinkMass, 1), 1.0, 1e-6);
}

// A sink as strong as all keys together takes half; the entropy is that of the keys.
TEST(ObserveTruth, LearnedSink) {
  Heads heads({uniform, uniform});
  heads.problem.modifiers.sinks = {static_cast<float>(std::log(96.0)), -100.0f};
  const auto got =
      heads.observe(of({RowMetric::kLearnedSink, RowMetric::kEntropy, RowMetric::kConfidence}));
  const auto last = static_cast<std::size_t>(kTokens - 1);
  EXPECT_NEAR(got.row_values(RowMetric::kLearnedSink, 0, 0)[last], 0.5, 1e-6);
  EXPECT_NEAR(got.row_values(RowMetric::kLearnedSink, 0, 1)[last], 0.0, 1e-6);
  EXPECT_NEAR(got.row_values(RowMetric::kEntropy, 0, 0)[last], std::log(96.0), 1e-6);
  EXPECT_NEAR(got.row_values(RowMetric::kConfidence, 0, 0)[last], 0.5 / 96, 1e-6);
}

// A text of 48 different tokens, twice.
TEST(ObserveTruth, DuplicateTokenAndInductionHeads) {
  const Heads heads({at_distance(48), at_distance(47), at_distance(1)});
  ObserveOptions options = of({RowMetric::kDuplicateToken, RowMetric::kInduction});
  for (std::int64_t n = 0; n < kTokens; ++n)
    options.tokens.push_back(static_cast<std::int32_t>(1000 - n % 48));
  const auto got = heads.observe(options);
  EXPECT_EQ(got.count(RowMetric::kInduction, 0), 48);
  EXPECT_NEAR(got.mean(RowMetric::kDuplicateToken, 0), 1.0, 1e-6);
  EXPECT_NEAR(got.mean(RowMetric::kInduction, 1), 1.0, 1e-6);
  for (const auto& [metric, head] : {std::pair{RowMetric::kDuplicateToken, 1},
                                     {RowMetric::kDuplicateToken, 2},
                                     {RowMetric::kInduction, 0},
                                     {RowMetric::kInduction, 2}})
    EXPECT_LT(got.mean(metric, head), 1e-6) << name(metric) << " of head " << head;
  // What chance gives: one key of all that are seen.
  Scratch scratch;
  const auto chance = observe_uniform(heads.problem, options, Threads(1), scratch);
  EXPECT_NEAR(chance.mean(RowMetric::kInduction, 0), 1.0 / 73, 1e-3);
}

// A head whose window holds what followed some of the repeats: the others' rows do not dilute it.
TEST(ObserveTruth, InductionHeadOfASlidingWindow) {
  Heads heads({at_distance(15), at_distance(16), uniform});
  heads.problem.mask = Mask::causal() & Mask::sliding_window(17);
  ObserveOptions options = of({RowMetric::kDuplicateToken, RowMetric::kInduction});
  for (std::int64_t n = 0; n < kTokens; ++n)  // repeats at a distance of 16, in one of three blocks
    options.tokens.push_back(static_cast<std::int32_t>(n < 32 || n >= 80 ? n % 16 : 100 + n));
  const auto got = heads.observe(options);
  EXPECT_EQ(got.count(RowMetric::kInduction, 0), 16);
  EXPECT_EQ(got.count(RowMetric::kDuplicateToken, 0), 16);
  EXPECT_NEAR(got.mean(RowMetric::kInduction, 0), 1.0, 1e-6);
  EXPECT_NEAR(got.mean(RowMetric::kDuplicateToken, 1), 1.0, 1e-6);
  EXPECT_LT(got.mean(RowMetric::kInduction, 1), 1e-6);
  EXPECT_NEAR(got.mean(RowMetric::kInduction, 2), 1.0 / 17, 1e-6);
}

TEST(ObserveTruth, ClassesAndLinks) {
  const auto class_head = [](std::int64_t, std::int64_t j) { return j % 5 == 0 ? 40.0 : 0.0; };
  const auto link_head = [](std::int64_t i, std::int64_t j) { return j == i / 2 ? 40.0 : 0.0; };
  const Heads heads({class_head, link_head, uniform});
  ObserveOptions options = of({RowMetric::kTokenClass, RowMetric::kLink});
  for (std::int64_t n = 0; n < kTokens; ++n) {
    options.token_class.push_back(n % 5 == 0);
    options.links.push_back(n % 3 == 0 ? n / 2 : -1);
  }
  const auto got = heads.observe(options);
  EXPECT_NEAR(got.mean(RowMetric::kTokenClass, 0), 1.0, 1e-6);
  EXPECT_LT(got.mean(RowMetric::kTokenClass, 2), 0.3);
  EXPECT_EQ(got.count(RowMetric::kLink, 0), 32);
  EXPECT_NEAR(got.mean(RowMetric::kLink, 1), 1.0, 1e-6);
  EXPECT_LT(got.mean(RowMetric::kLink, 2), 0.15);
}

TEST(ObserveTruth, WeightedMass) {
  const Heads heads({at_distance(1), uniform, at_distance(1)});
  Tensor weights({1, 1, 3, kTokens});
  for (std::int64_t j = 0; j < kTokens; ++j) {
    weights.view.at(0, 0, 0, j) = weights.view.at(0, 0, 1, j) = static_cast<float>(j);
    weights.view.at(0, 0, 2, j) = -1.0f;
  }
  ObserveOptions options = of({RowMetric::kWeightedMass});
  options.key_weights = weights.view;
  const auto got = heads.observe(options);
  for (std::int64_t i = 1; i < kTokens; ++i) {
    const auto at = [&](std::int64_t h) {
      return got.row_values(RowMetric::kWeightedMass, 0, h)[static_cast<std::size_t>(i)];
    };
    const auto before = static_cast<double>(i - 1);
    EXPECT_NEAR(at(0), before, 1e-5 * std::max(1.0, before));
    EXPECT_NEAR(at(1), static_cast<double>(i) / 2, 1e-5 * static_cast<double>(i));
    EXPECT_NEAR(at(2), -1.0, 1e-6);
  }
}

}  // namespace
}  // namespace rapt::test
