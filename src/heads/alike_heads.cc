#include "rapt/alike_heads.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "heads/mean_interval.h"

namespace rapt {
namespace {

constexpr double kLevel = 0.05;
constexpr double kAlike = 0.9;

/// Similarities of the heads of one layer over texts.
class Layer {
 public:
  Layer(std::span<const HeadScores> texts, std::int64_t layer, double level)
      : texts_(texts), layer_(layer), level_(level) {}

  std::vector<double> of(std::int64_t a, std::int64_t b) const {
    const std::int64_t heads = texts_[0].heads;
    std::vector<double> values;
    for (const HeadScores& text : texts_)  // NaN of a text whose windows have one token each
      if (const double x = text.similarity[(layer_ * heads + a) * heads + b]; !std::isnan(x))
        values.push_back(x);
    return values;
  }

  bool alike(std::int64_t a, std::int64_t b) const {
    const std::vector<double> values = of(a, b);
    return std::ssize(values) == std::ssize(texts_) &&
           student_interval(values, level_).low >= kAlike;
  }

  /// Those that pairs connect to `first`, without those taken.
  std::vector<std::int64_t> connected(std::int64_t first, std::vector<bool>& taken) const {
    std::vector<std::int64_t> found = {first};
    taken[first] = true;
    for (std::size_t n = 0; n < found.size(); ++n)
      for (std::int64_t other = 0; other < texts_[0].heads; ++other)
        if (!taken[other] && alike(found[n], other)) {
          taken[other] = true;
          found.push_back(other);
        }
    std::ranges::sort(found);
    return found;
  }

  HeadCluster cluster_of(const std::vector<std::int64_t>& heads) const {
    HeadCluster cluster;
    cluster.similarity = 2;
    for (const std::int64_t a : heads) {
      cluster.heads.push_back({layer_, a});
      for (const std::int64_t b : heads) {
        const std::vector<double> values = of(a, b);
        if (b <= a || mean_of(values) >= cluster.similarity) continue;
        cluster.similarity = mean_of(values);
        cluster.interval = student_interval(values, level_);
        cluster.explained = explained(a, b);
      }
    }
    return cluster;
  }

 private:
  double explained(std::int64_t a, std::int64_t b) const {
    std::vector<double> values;
    for (const HeadScores& text : texts_) {
      const double x = text.score(HeadRole::kSink, {layer_, a}),
                   y = text.score(HeadRole::kSink, {layer_, b});
      values.push_back(std::sqrt(x * y) + std::sqrt(std::max(0.0, 1 - x) * std::max(0.0, 1 - y)));
    }
    return mean_of(values);
  }

  std::span<const HeadScores> texts_;
  std::int64_t layer_;
  double level_;
};

}  // namespace

AlikeHeads find_alike_heads(std::span<const HeadScores> texts) {
  require(!texts.empty(), ErrorCode::kBadArgument, "find_alike_heads.texts", "at least one",
          "none");
  const std::int64_t layers = texts[0].layers, heads = texts[0].heads,
                     pairs = layers * heads * (heads - 1) / 2;
  for (const HeadScores& text : texts)
    require(text.layers == layers && text.heads == heads &&
                std::ssize(text.similarity) == layers * heads * heads,
            ErrorCode::kBadArgument, "find_alike_heads.texts",
            "similarities of " + std::to_string(layers) + " layers and " + std::to_string(heads) +
                " heads",
            std::to_string(text.similarity.size()) + " numbers");
  AlikeHeads result;
  if (pairs == 0) return result;
  result.texts_needed = texts_needed(pairs, kLevel, Tail::kAbove);
  if (std::ssize(texts) < result.texts_needed) return result;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const Layer seen(texts, layer, 1 - kLevel / static_cast<double>(pairs));
    std::vector<bool> taken(heads);
    for (std::int64_t first = 0; first < heads; ++first) {
      if (taken[first]) continue;
      const std::vector<std::int64_t> cluster = seen.connected(first, taken);
      if (cluster.size() > 1) result.clusters.push_back(seen.cluster_of(cluster));
    }
  }
  return result;
}

}  // namespace rapt
