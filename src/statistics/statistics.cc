#include "rapt/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "base/float_env.h"
#include "base/splitmix64.h"

namespace rapt {
namespace {

constexpr std::size_t kMostSigns = 32;  // numbers, or groups of them, whose 2^n signs are all tried
constexpr std::int64_t kHalvings = 100;

void require_finite(std::span<const double> x, std::size_t least, const char* where) {
  require(x.size() >= least, ErrorCode::kBadArgument, where,
          "at least " + std::to_string(least) + " numbers", x.size());
  for (const double value : x)
    require(std::isfinite(value), ErrorCode::kBadArgument, where, "finite numbers", value);
}

void require_level(double level, const char* where) {
  require(level > 0 && level < 1, ErrorCode::kBadArgument, where, "a number within (0, 1)", level);
}

/// Sums of x with every choice of signs, ascending.
std::vector<double> signed_sums(std::span<const double> x) {
  std::vector<double> sums = {0}, below, above;
  for (const double value : x) {
    below.clear();
    above.clear();
    for (const double sum : sums) {
      below.push_back(sum - std::abs(value));
      above.push_back(sum + std::abs(value));
    }
    sums.resize(2 * sums.size());
    std::ranges::merge(below, above, sums.begin());
  }
  return sums;
}

/// How many of the 2^n sums of x with signs are at least `least`.
/// @source Horowitz & Sahni 1974: the sums of two halves meet.
std::int64_t count_signed_sums(std::span<const double> x, double least) {
  const std::vector<double> first = signed_sums(x.first(x.size() / 2)),
                            second = signed_sums(x.subspan(x.size() / 2));
  std::int64_t count = 0;
  std::size_t from = second.size();  // as one half's sum grows, less of the other's is enough
  for (const double sum : first) {
    while (from > 0 && sum + second[from - 1] >= least) --from;
    count += static_cast<std::int64_t>(second.size() - from);
  }
  return count;
}

/// From 1; those of equal numbers are their mean.
std::vector<double> ranks_of(std::span<const double> x) {
  std::vector<std::size_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](std::size_t n) { return x[n]; });
  std::vector<double> ranks(x.size());
  for (std::size_t first = 0; first < x.size();) {
    std::size_t end = first + 1;
    while (end < x.size() && x[order[end]] == x[order[first]]) ++end;
    for (std::size_t n = first; n < end; ++n)
      ranks[order[n]] = static_cast<double>(first + 1 + end) / 2;
    first = end;
  }
  return ranks;
}

}  // namespace

double mean_of(std::span<const double> x) {
  const CanonicalFloatEnv env;
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

Interval bootstrap_mean_interval(std::span<const double> x, const BootstrapOptions& options) {
  require_finite(x, 2, "bootstrap_mean_interval.x");
  require(options.draws > 0, ErrorCode::kBadArgument, "bootstrap_mean_interval.draws",
          "a positive number", options.draws);
  require_level(options.level, "bootstrap_mean_interval.level");
  const CanonicalFloatEnv env;
  std::vector<double> means;
  std::uint64_t drawn = 0;
  for (std::int64_t n = 0; n < options.draws; ++n) {
    double sum = 0;
    for (std::size_t k = 0; k < x.size(); ++k)
      sum += x[splitmix64(options.seed, ++drawn) % x.size()];
    means.push_back(sum / static_cast<double>(x.size()));
  }
  std::ranges::sort(means);
  const auto tail =
      static_cast<std::size_t>((1 - options.level) / 2 * static_cast<double>(options.draws));
  return {means[tail], means[means.size() - 1 - tail]};
}

double sign_flip_p(std::span<const double> x, Tail tail) {
  require_finite(x, 1, "sign_flip_p.x");
  const CanonicalFloatEnv env;
  std::vector<double> groups(std::min(x.size(), kMostSigns));
  double size = 0, seen = 0;
  for (std::size_t n = 0; n < x.size(); ++n) {
    groups[n % groups.size()] += x[n];
    size += std::abs(x[n]);
    seen += x[n];
  }
  const bool both = tail == Tail::kBoth;
  const double least = (both ? std::abs(seen) : seen) - 1e-12 * size;  // equal sums may round apart
  if (both && least <= 0) return 1;
  const double share = std::ldexp(static_cast<double>(count_signed_sums(groups, least)),
                                  -static_cast<int>(groups.size()));
  return both ? 2 * share : share;  // a sum's opposite is there, too
}

std::int64_t texts_needed(std::int64_t tests, double level, Tail tail) {
  require(tests > 0, ErrorCode::kBadArgument, "texts_needed.tests", "a positive number", tests);
  require_level(level, "texts_needed.level");
  const CanonicalFloatEnv env;
  double p = tail == Tail::kBoth ? 1.0 : 0.5;  // the least of one text
  std::int64_t texts = 1;
  for (; p * static_cast<double>(tests) > level; ++texts) p /= 2;
  require(texts <= static_cast<std::int64_t>(kMostSigns), ErrorCode::kBadArgument,
          "texts_needed.tests", "fewer, of which one finding can pass at this level", tests);
  return texts;
}

std::vector<double> benjamini_hochberg(std::span<const double> p) {
  for (const double value : p)
    require(value >= 0 && value <= 1, ErrorCode::kBadArgument, "benjamini_hochberg.p",
            "numbers within [0, 1]", value);
  const CanonicalFloatEnv env;
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](std::size_t n) { return p[n]; });
  std::vector<double> q(p.size());
  double least = 1;
  for (std::size_t rank = p.size(); rank > 0; --rank) {
    const std::size_t n = order[rank - 1];
    least = std::min(least, static_cast<double>(p.size()) * p[n] / static_cast<double>(rank));
    q[n] = least;
  }
  return q;
}

double rank_correlation(std::span<const double> a, std::span<const double> b) {
  require(a.size() == b.size() && a.size() >= 2, ErrorCode::kBadArgument, "rank_correlation",
          "as many numbers on both sides, two or more",
          std::to_string(a.size()) + " and " + std::to_string(b.size()));
  for (const std::span<const double> side : {a, b})
    for (const double value : side)
      require(!std::isnan(value), ErrorCode::kBadArgument, "rank_correlation", "numbers", value);
  const CanonicalFloatEnv env;
  const std::vector<double> x = ranks_of(a), y = ranks_of(b);
  const double middle = static_cast<double>(a.size() + 1) / 2;
  double xx = 0, yy = 0, xy = 0;
  for (std::size_t n = 0; n < x.size(); ++n) {
    xx += (x[n] - middle) * (x[n] - middle);
    yy += (y[n] - middle) * (y[n] - middle);
    xy += (x[n] - middle) * (y[n] - middle);
  }
  if (xx == 0 || yy == 0) return std::numeric_limits<double>::quiet_NaN();
  return xy / std::sqrt(xx * yy);
}

double split_half_correlation(std::span<const std::vector<double>> values, std::uint64_t seed) {
  const std::size_t texts = values.empty() ? 0 : values[0].size();
  require(values.size() >= 2 && texts >= 2, ErrorCode::kBadArgument, "split_half_correlation",
          "two units and two texts, or more",
          std::to_string(values.size()) + " and " + std::to_string(texts));
  for (const std::vector<double>& row : values)
    require(row.size() == texts, ErrorCode::kBadArgument, "split_half_correlation",
            "rows of " + std::to_string(texts) + " numbers", row.size());
  const CanonicalFloatEnv env;
  const auto half = static_cast<std::int64_t>(texts / 2);
  double sum = 0;
  for (std::int64_t halving = 0; halving < kHalvings; ++halving) {
    const auto drawn = draw_without_replacement(static_cast<std::int64_t>(texts), 2 * half, seed,
                                                static_cast<std::uint64_t>(halving));
    std::vector<double> first, second;
    for (const std::vector<double>& row : values) {
      double a = 0, b = 0;
      for (std::int64_t n = 0; n < half; ++n) {
        a += row[drawn[n]];
        b += row[drawn[half + n]];
      }
      first.push_back(a);
      second.push_back(b);
    }
    sum += rank_correlation(first, second);
  }
  return sum / static_cast<double>(kHalvings);
}

std::vector<std::int64_t> draw_without_replacement(std::int64_t total, std::int64_t count,
                                                   std::uint64_t seed, std::uint64_t n) {
  require(count >= 0 && count <= total, ErrorCode::kBadArgument, "draw_without_replacement.count",
          "0 to " + std::to_string(total), count);
  std::vector<std::int64_t> numbers(total);
  std::iota(numbers.begin(), numbers.end(), 0);
  const std::uint64_t stream = mix64(seed + mix64(n + 1));
  for (std::int64_t k = 0; k < count; ++k) {
    const std::uint64_t rest = static_cast<std::uint64_t>(total - k);
    std::swap(numbers[k], numbers[k + splitmix64(stream, k + 1) % rest]);
  }
  numbers.resize(count);
  return numbers;
}

}  // namespace rapt
