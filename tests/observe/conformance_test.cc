// Statistics of attention against the f64 matrix.

#include <gtest/gtest.h>

#include "paged_tokens.h"
#include "statistics.h"

namespace rapt::test {
namespace {

double tolerance(double x) { return 1e-5 * std::max(1.0, std::abs(x)); }

/// Every row, mean and bin of a case.
void expect_truth(const AttentionCase& c) {
  SCOPED_TRACE(c.name());
  const CaseInputs in(c);
  const Problem p = c.problem();
  const ObserveOptions options = all_options(p);
  Scratch scratch;
  const Inputs inputs = in.inputs();
  const HeadStatistics got = observe(p, inputs, options, Threads(c.threads), scratch);

  const std::size_t metrics = options.metrics.size();
  std::vector<double> sums(got.sums.size()), bin_sums(got.bin_sums.size());
  std::vector<std::int64_t> counts(got.counts.size());
  for_each_row_truth(c, p, inputs, options, [&](auto b, auto h, auto i, const RowTruth& row) {
    ASSERT_EQ(row.values.size(), metrics);
    ASSERT_EQ(row.counts.size(), metrics);
    const auto at = static_cast<std::size_t>(b * p.q_heads + h);
    const std::size_t heads = static_cast<std::size_t>(p.batch * p.q_heads);
    for (std::size_t n = 0; n < metrics; ++n) {
      const float value = got.row_values(options.metrics[n], b, h)[static_cast<std::size_t>(i)];
      const bool is_counted = row.any && row.counts[n];
      const double truth = is_counted ? row.values[n] : 0;
      ASSERT_NEAR(value, truth, tolerance(truth))
          << name(options.metrics[n]) << " of sequence " << b << ", head " << h << ", query " << i;
      sums[n * heads + at] += truth;
      counts[n * heads + at] += is_counted;
    }
    if (!row.any) return;
    for (std::size_t bin = 0; bin < kDistanceBins; ++bin)
      bin_sums[at * kDistanceBins + bin] += row.bins[bin];
  });
  EXPECT_EQ(got.counts, counts);
  for (std::size_t n = 0; n < sums.size(); ++n) {
    const double rows = static_cast<double>(std::max<std::int64_t>(counts[n], 1));
    EXPECT_NEAR(got.sums[n] / rows, sums[n] / rows, tolerance(sums[n] / rows));
  }
  for (std::size_t n = 0; n < bin_sums.size(); ++n) {
    const double rows =
        static_cast<double>(std::max<std::int64_t>(got.bin_counts[n / kDistanceBins], 1));
    EXPECT_NEAR(got.bin_sums[n] / rows, bin_sums[n] / rows, 1e-5) << "bin " << n % kDistanceBins;
  }
}

TEST(Observe, EveryMaskIsNearF64) {
  for (const NamedMask& mask : masks())
    expect_truth(observed_case(mask, Modifiers::kNone, 130, 130));
}

TEST(Observe, EveryModifierIsNearF64) {
  for (int n = 0; n < kModifierSets; ++n)
    expect_truth(observed_case(mask_named("causal"), static_cast<Modifiers>(n), 200, 200));
}

TEST(Observe, ManyChunksAreNearF64) {
  expect_truth(observed_case(mask_named("causal"), Modifiers::kAll, 70, 1400));
  expect_truth(observed_case(mask_named("none"), Modifiers::kSinks, 3, 2100));
  AttentionCase peaked = observed_case(mask_named("causal"), Modifiers::kNone, 600, 600);
  peaked.batch = 1;
  peaked.threads = 3;
  expect_truth(peaked);
}

TEST(Observe, PaddingAndPositionsAreNearF64) {
  for (const auto padding : {Padding::kLeft, Padding::kRight, Padding::kMixed}) {
    AttentionCase c = observed_case(mask_named("causal"), Modifiers::kAlibi, 90, 140);
    c.batch = 3;
    c.padding = padding;
    expect_truth(c);
    c.positions = Positions::kGiven;
    expect_truth(c);
  }
}

// Scores far from zero: sums that are not centred would lose them.
TEST(Observe, OffsetsOfAllScoresLoseNothing) {
  AttentionCase c = observed_case(mask_named("causal"), Modifiers::kNone, 512, 512);
  c.batch = 1;
  c.q_heads = c.kv_heads = 1;
  c.head_dim = 2;
  Problem p = c.problem();
  p.scale = 0x1.62e43p-1f;  // ln 2: weights are powers of 2, of 1024 and some multiples of 2^-8
  Tensor q({1, 512, 1, 2}), k({1, 512, 1, 2});
  Rng rng(3);
  for (std::int64_t i = 0; i < 512; ++i) {
    q.view.at(0, i, 0, 0) = 32.0f;
    q.view.at(0, i, 0, 1) = 1.0f;
    k.view.at(0, i, 0, 0) = 32.0f;
    k.view.at(0, i, 0, 1) = std::round(512.0f * static_cast<float>(rng.normal())) / 256.0f;
  }
  Scratch scratch;
  ObserveOptions options;
  options.metrics = {RowMetric::kEntropy};
  options.keep_rows = true;
  const auto got = observe(p, {.q = q.view, .k = k.view}, options, Threads(1), scratch);
  for (std::int64_t i = 0; i < 512; ++i) {
    double sum = 0, scores = 0;
    for (std::int64_t j = 0; j <= i; ++j) {
      const double score = k.view.at(0, j, 0, 1);
      sum += std::exp2(score);
      scores += std::exp2(score) * score;
    }
    EXPECT_NEAR(got.rows[static_cast<std::size_t>(i)], std::log(sum) - std::log(2.0) * scores / sum,
                1e-5);
  }
}

// Keys on both sides, whose distances cancel.
TEST(Observe, DistancesThatCancelAreNearF64) {
  AttentionCase c = observed_case(mask_named("none"), Modifiers::kNone, 700, 700);
  c.batch = 1;
  expect_truth(c);
}

TEST(Observe, UniformIsTheShareOfTheKeys) {
  AttentionCase c = observed_case(mask_named("causal"), Modifiers::kAll, 90, 90);
  const Problem p = c.problem();
  const ObserveOptions options = all_options(p);
  Scratch scratch;
  const auto got = observe_uniform(p, options, Threads(1), scratch);
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t i = 0; i < 90; ++i) {
      const double n = static_cast<double>(i + 1);
      const auto row = [&](RowMetric metric) {
        return got.row_values(metric, b, 3)[static_cast<std::size_t>(i)];
      };
      EXPECT_NEAR(row(RowMetric::kEntropy), std::log(n), 1e-6);
      EXPECT_NEAR(row(RowMetric::kSinkMass), std::min(n, 4.0) / n, 1e-6);
      EXPECT_NEAR(row(RowMetric::kPreviousToken), i == 0 ? 0.0 : 1 / n, 1e-6);
      EXPECT_NEAR(row(RowMetric::kLookback), static_cast<double>(i) / 2, 1e-5 * n);
      EXPECT_EQ(row(RowMetric::kLearnedSink), 0.0f);
    }
}

TEST(Observe, RefusesWhatDoesNotFit) {
  AttentionCase c = observed_case(mask_named("causal"), Modifiers::kNone, 20, 20);
  const CaseInputs in(c);
  const Problem p = c.problem();
  Scratch scratch;
  const auto error = [&](const ObserveOptions& options) {
    return error_of([&] { observe(p, in.inputs(), options, Threads(1), scratch); });
  };
  ObserveOptions o = all_options(p);
  EXPECT_EQ(error(o), "no error");
  o.tokens.pop_back();
  EXPECT_EQ(error(o), "ObserveOptions.tokens: expected 20 or 40 elements, got 39");
  o = all_options(p);
  o.token_class.clear();
  EXPECT_EQ(error(o), "ObserveOptions.token_class: expected 20 or 40 elements, got 0");
  o = all_options(p);
  o.links[7] = 20;
  EXPECT_EQ(error(o), "ObserveOptions.links: expected -1 to 19, got 20");
  o = all_options(p);
  o.sink_tokens = 0;
  EXPECT_EQ(error(o), "ObserveOptions.sink_tokens: expected at least 1, got 0");
  o = all_options(p);
  o.window = 0;
  EXPECT_EQ(error(o), "ObserveOptions.window: expected 1 to 2^40, got 0");
  o = all_options(p);
  o.metrics.push_back(RowMetric::kEntropy);
  EXPECT_EQ(error(o), "ObserveOptions.metrics: expected each at most once, got entropy");

  o = {};
  o.metrics = {RowMetric::kEntropy};
  HeadStatistics statistics = observe(p, in.inputs(), o, Threads(1), scratch);
  EXPECT_EQ(error_of([&] { (void)statistics.mean(RowMetric::kLookback, 0); }),
            "HeadStatistics metric: expected one that was observed, got lookback");
  EXPECT_EQ(error_of([&] { (void)statistics.mean(RowMetric::kEntropy, 4); }),
            "HeadStatistics head: expected 0 to 3, got 4");
  EXPECT_EQ(error_of([&] { (void)statistics.distance_mass(0); }),
            "HeadStatistics.distance_mass: expected statistics of ObserveOptions::distances, got "
            "others");
  o.metrics = {RowMetric::kSupport};
  EXPECT_NE(error_of([&] {
              add_observed(p, in.inputs(), o, Threads(1), scratch, statistics);
            }).find("add_observed statistics: expected those of other queries"),
            std::string::npos);
  Inputs without_k = in.inputs();
  without_k.k.data = nullptr;
  EXPECT_EQ(error_of([&] { observe(p, without_k, o, Threads(1), scratch); }),
            "Inputs.k: expected a view with data, got a null pointer");
}

}  // namespace
}  // namespace rapt::test
