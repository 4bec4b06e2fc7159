#include "rapt/observe.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string>

#include "attention/run.h"
#include "base/check.h"
#include "base/float_env.h"
#include "base/memory.h"
#include "observe/observed_inputs.h"
#include "observe/observers.h"
#include "observe/pass.h"

namespace rapt {
namespace {

struct MetricEntry {
  RowMetric metric;
  const char* name;
  MakeObserver* make;
};

constexpr MetricEntry kMetrics[] = {
    {RowMetric::kEntropy, "entropy", make_entropy},
    {RowMetric::kNormalisedEntropy, "normalised_entropy", make_normalised_entropy},
    {RowMetric::kSupport, "support", make_support},
    {RowMetric::kRenyiSupport, "renyi_support", make_renyi_support},
    {RowMetric::kConfidence, "confidence", make_confidence},
    {RowMetric::kLookback, "lookback", make_lookback},
    {RowMetric::kSinkMass, "sink_mass", make_sink_mass},
    {RowMetric::kLearnedSink, "learned_sink", make_learned_sink},
    {RowMetric::kPreviousToken, "previous_token", make_previous_token},
    {RowMetric::kLocality, "locality", make_locality},
    {RowMetric::kDuplicateToken, "duplicate_token", make_duplicate_token},
    {RowMetric::kInduction, "induction", make_induction},
    {RowMetric::kTokenClass, "token_class", make_token_class},
    {RowMetric::kLink, "link", make_link},
    {RowMetric::kWeightedMass, "weighted_mass", make_weighted_mass},
};

const MetricEntry& entry(RowMetric metric) {
  for (const MetricEntry& each : kMetrics)
    if (each.metric == metric) return each;
  require(false, ErrorCode::kBadArgument, "RowMetric", "a RowMetric", static_cast<int>(metric));
  return kMetrics[0];
}

std::vector<std::unique_ptr<RowObserver>> make_observers(const Problem& problem,
                                                         const ObserveOptions& options) {
  std::vector<std::unique_ptr<RowObserver>> observers;
  for (std::size_t n = 0; n < options.metrics.size(); ++n) {
    const RowMetric metric = options.metrics[n];
    const auto before = options.metrics.begin() + static_cast<std::ptrdiff_t>(n);
    require(std::find(options.metrics.begin(), before, metric) == before, ErrorCode::kBadArgument,
            "ObserveOptions.metrics", "each at most once", name(metric));
    observers.push_back(entry(metric).make(problem, options));
  }
  if (options.distances) observers.push_back(make_distances(problem, options));
  return observers;
}

/// Fits `statistics` to a pass: as they are, or empty ones.
void prepare(const Problem& problem, const ObserveOptions& options, HeadStatistics& statistics) {
  const auto of_heads = static_cast<std::size_t>(problem.batch * problem.q_heads);
  if (statistics.batch == 0 && statistics.heads == 0) {
    statistics.metrics = options.metrics;
    statistics.batch = problem.batch;
    statistics.heads = problem.q_heads;
    statistics.sums.assign(options.metrics.size() * of_heads, 0.0);
    statistics.counts.assign(options.metrics.size() * of_heads, 0);
    if (options.distances) {
      statistics.bin_sums.assign(of_heads * kDistanceBins, 0.0);
      statistics.bin_counts.assign(of_heads, 0);
    }
  }
  require(statistics.metrics == options.metrics && statistics.batch == problem.batch &&
              statistics.heads == problem.q_heads &&
              statistics.sums.size() == options.metrics.size() * of_heads &&
              statistics.counts.size() == statistics.sums.size() &&
              statistics.bin_sums.size() == (options.distances ? of_heads * kDistanceBins : 0) &&
              statistics.bin_counts.size() == (options.distances ? of_heads : 0),
          ErrorCode::kBadArgument, "add_observed statistics",
          "those of other queries of " + std::to_string(problem.batch) + " sequences and " +
              std::to_string(problem.q_heads) + " heads with the same options",
          std::to_string(statistics.batch) + " and " + std::to_string(statistics.heads));
}

/// Adds the rows of one output to a sum a sequence and head, `stride` apart, ascending.
void add_rows(const Problem& problem, const float* values, const std::uint8_t* counts,
              std::int64_t stride, double* sums, std::int64_t* rows) {
  for (std::int64_t n = 0; n < problem.batch * problem.q_heads; ++n)
    for (std::int64_t i = 0; i < problem.q_tokens; ++i) {
      const std::int64_t at = n * problem.q_tokens + i;
      if (counts[at] == 0) continue;
      sums[n * stride] += static_cast<double>(values[at]);
      if (rows != nullptr) ++rows[n];
    }
}

void add_rows(const Problem& problem, const ObserveOptions& options,
              const std::vector<float>& values, const std::vector<std::uint8_t>& counts,
              HeadStatistics& statistics) {
  const CanonicalFloatEnv env;
  const std::int64_t heads = problem.batch * problem.q_heads, rows = heads * problem.q_tokens;
  const std::int64_t metrics = std::ssize(options.metrics);
  for (std::int64_t n = 0; n < metrics; ++n)
    add_rows(problem, values.data() + n * rows, counts.data() + n * rows, 1,
             statistics.sums.data() + n * heads, statistics.counts.data() + n * heads);
  for (std::int64_t bin = 0; bin < (options.distances ? kDistanceBins : 0); ++bin)
    add_rows(problem, values.data() + (metrics + bin) * rows, counts.data() + metrics * rows,
             kDistanceBins, statistics.bin_sums.data() + bin,
             bin == 0 ? statistics.bin_counts.data() : nullptr);
}

}  // namespace

std::span<const RowMetric> row_metrics() {
  static constexpr auto kAll = [] {
    std::array<RowMetric, std::size(kMetrics)> all{};
    for (std::size_t n = 0; n < all.size(); ++n) all[n] = kMetrics[n].metric;
    return all;
  }();
  return kAll;
}

const char* name(RowMetric metric) { return entry(metric).name; }

void add_observed(const Problem& problem, const Inputs& inputs, const ObserveOptions& options,
                  const Threads& threads, Scratch& scratch, HeadStatistics& statistics) {
  problem.validate();
  with_memory("observe", [&] {
    const ObservedInputs observed(problem, inputs);
    StatisticsPass pass(observed.problem, make_observers(observed.problem, options));
    const Plan plan = observed.plan(threads, pass);
    prepare(problem, options, statistics);

    const auto rows = static_cast<std::size_t>(problem.batch * problem.q_heads * problem.q_tokens);
    std::vector<float> values(static_cast<std::size_t>(pass.outputs()) * rows);
    std::vector<std::uint8_t> counts((options.metrics.size() + (options.distances ? 1 : 0)) * rows);
    pass.write_to(values.data(), counts.data());
    run_in(plan.detail(), observed.inputs, scratch.reserve(plan.scratch_bytes()), {});
    add_rows(problem, options, values, counts, statistics);
    statistics.q_tokens = problem.q_tokens;
    values.resize(options.keep_rows ? options.metrics.size() * rows : 0);
    statistics.rows = std::move(values);
  });
}

HeadStatistics observe(const Problem& problem, const Inputs& inputs, const ObserveOptions& options,
                       const Threads& threads, Scratch& scratch) {
  HeadStatistics statistics;
  add_observed(problem, inputs, options, threads, scratch, statistics);
  return statistics;
}

HeadStatistics observe_uniform(const Problem& problem, const ObserveOptions& options,
                               const Threads& threads, Scratch& scratch) {
  Problem uniform = problem;
  uniform.modifiers = {};
  uniform.storage = {};
  uniform.head_dim = uniform.v_head_dim = 1;
  static constexpr float kZero = 0.0f;
  const auto zeros = [&](std::int64_t tokens, std::int64_t heads) {
    return ConstTensor(&kZero, {problem.batch, tokens, heads, 1}, Dims{});
  };
  return observe(uniform,
                 {.q = zeros(problem.q_tokens, problem.q_heads),
                  .k = zeros(problem.kv_tokens, problem.kv_heads)},
                 options, threads, scratch);
}

}  // namespace rapt
