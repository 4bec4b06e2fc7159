#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/float_env.h"
#include "base/require_index.h"
#include "rapt/observe.h"

namespace rapt {
namespace {

/// Where a metric's figures stand.
std::int64_t index_of(const HeadStatistics& statistics, RowMetric metric) {
  const auto at = std::find(statistics.metrics.begin(), statistics.metrics.end(), metric);
  require(at != statistics.metrics.end(), ErrorCode::kBadArgument, "HeadStatistics metric",
          "one that was observed", name(metric));
  return at - statistics.metrics.begin();
}

double quotient(double sum, std::int64_t count) {
  return count == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(count);
}

}  // namespace

double HeadStatistics::mean(RowMetric metric, std::int64_t head) const {
  const std::int64_t rows = count(metric, head);  // checks both
  const CanonicalFloatEnv env;
  const std::int64_t first = index_of(*this, metric) * batch;
  double sum = 0.0;
  for (std::int64_t b = 0; b < batch; ++b)
    sum += sums[static_cast<std::size_t>((first + b) * heads + head)];
  return quotient(sum, rows);
}

double HeadStatistics::mean(RowMetric metric, std::int64_t head, std::int64_t sequence) const {
  require_index(head, heads, "HeadStatistics head");
  require_index(sequence, batch, "HeadStatistics sequence");
  const auto at =
      static_cast<std::size_t>((index_of(*this, metric) * batch + sequence) * heads + head);
  const CanonicalFloatEnv env;
  return quotient(sums[at], counts[at]);
}

std::int64_t HeadStatistics::count(RowMetric metric, std::int64_t head) const {
  require_index(head, heads, "HeadStatistics head");
  const std::int64_t first = index_of(*this, metric) * batch;
  std::int64_t rows = 0;
  for (std::int64_t b = 0; b < batch; ++b)
    rows += counts[static_cast<std::size_t>((first + b) * heads + head)];
  return rows;
}

std::vector<double> HeadStatistics::distance_mass(std::int64_t head) const {
  require_index(head, heads, "HeadStatistics head");
  require(!bin_sums.empty(), ErrorCode::kBadArgument, "HeadStatistics.distance_mass",
          "statistics of ObserveOptions::distances", "others");
  const CanonicalFloatEnv env;
  std::vector<double> mass(static_cast<std::size_t>(kDistanceBins), 0.0);
  std::int64_t rows = 0;
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t at = b * heads + head;
    rows += bin_counts[static_cast<std::size_t>(at)];
    for (std::int64_t bin = 0; bin < kDistanceBins; ++bin)
      mass[static_cast<std::size_t>(bin)] +=
          bin_sums[static_cast<std::size_t>(at * kDistanceBins + bin)];
  }
  for (double& each : mass) each = quotient(each, rows);
  return mass;
}

std::span<const float> HeadStatistics::row_values(RowMetric metric, std::int64_t sequence,
                                                  std::int64_t head) const {
  require_index(head, heads, "HeadStatistics head");
  require_index(sequence, batch, "HeadStatistics sequence");
  const std::int64_t at = (index_of(*this, metric) * batch + sequence) * heads + head;
  require(std::ssize(rows) == std::ssize(metrics) * batch * heads * q_tokens,
          ErrorCode::kBadArgument, "HeadStatistics.row_values",
          "statistics of ObserveOptions::keep_rows", "none of rows");
  return std::span(rows).subspan(static_cast<std::size_t>(at * q_tokens),
                                 static_cast<std::size_t>(q_tokens));
}

}  // namespace rapt
