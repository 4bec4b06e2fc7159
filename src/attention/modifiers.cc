#include "attention/modifiers.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "base/check.h"
#include "base/elementary.h"
#include "base/float_env.h"
#include "kernels/attention/attention.h"

namespace rapt {
namespace {

constexpr ErrorCode kBad = ErrorCode::kBadArgument;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = 0x1p127f;  // times log2 e it is still finite

/// What is asked of a list with an element for each head.
struct HeadList {
  std::string where;
  int log2_most;  ///< log2 of the largest magnitude
  bool may_be_minus_infinity;
};

void check_heads(const std::vector<float>& list, std::int64_t q_heads, const HeadList& asked) {
  if (list.empty()) return;
  require(std::ssize(list) == q_heads, kBad, asked.where,
          "one for each query head (" + std::to_string(q_heads) + ") or none", list.size());
  for (const float value : list)
    require(std::abs(value) <= std::ldexp(1.0f, asked.log2_most) ||
                (asked.may_be_minus_infinity && value == -kInfinity),
            kBad, asked.where,
            "magnitudes of at most 2^" + std::to_string(asked.log2_most) +
                (asked.may_be_minus_infinity ? ", or -inf" : ""),
            value);
}

void check_buckets(const RelativeBias& bias) {
  const std::string where = "ScoreModifiers.relative_bias.";
  const std::int64_t least = bias.bidirectional ? 4 : 2;
  require(bias.buckets >= least && bias.buckets <= 1 << 20 && bias.buckets % (least / 2) == 0, kBad,
          where + "buckets", bias.bidirectional ? "an even number from 4 to 2^20" : "2 to 2^20",
          bias.buckets);
  const std::int64_t exact = bias.buckets / least;
  require(bias.max_distance > exact && bias.max_distance <= 1 << 20, kBad, where + "max_distance",
          std::to_string(exact + 1) + " to 2^20", bias.max_distance);
}

void check_relative_bias(const RelativeBias& bias, std::int64_t q_heads) {
  const std::string where = "ScoreModifiers.relative_bias.";
  check_buckets(bias);
  require(std::ssize(bias.table) == bias.buckets * q_heads, kBad, where + "table",
          std::to_string(bias.buckets * q_heads) + " values, [buckets, q_heads]",
          bias.table.size());
  for (const float value : bias.table)
    require(std::abs(value) <= kLargest, kBad, where + "table", "magnitudes of at most 2^127",
            value);
}

/// @pre  check_buckets(bias)
std::int64_t bucket_of(const RelativeBias& bias, std::int64_t distance) {
  // Beyond, the bucket is the same.
  distance = std::clamp(distance, -bias.max_distance, bias.max_distance);
  const std::int64_t side = bias.bidirectional ? bias.buckets / 2 : bias.buckets;
  const std::int64_t base = bias.bidirectional && distance > 0 ? side : 0;
  const std::int64_t away =
      bias.bidirectional ? std::abs(distance) : std::max<std::int64_t>(-distance, 0);
  const std::int64_t exact = side / 2;
  if (away < exact) return base + away;
  // In f32 and in this order, as models were trained.
  const CanonicalFloatEnv env;
  const float ratio = static_cast<float>(away) / static_cast<float>(exact);
  const double span =
      elementary::log(static_cast<double>(bias.max_distance) / static_cast<double>(exact));
  const float steps = static_cast<float>(elementary::log(static_cast<double>(ratio))) /
                      static_cast<float>(span) * static_cast<float>(side - exact);
  return base + std::min(side - 1, exact + static_cast<std::int64_t>(steps));
}

}  // namespace

void check_modifiers(const ScoreModifiers& modifiers, std::int64_t q_heads) {
  const float cap = modifiers.softcap.value_or(1.0f);
  require(cap > 0.0f && cap <= kLargest, kBad, "ScoreModifiers.softcap",
          "a number above 0, at most 2^127", cap);
  // Times the farthest distance, 2^24, and log2 e a slope is still finite.
  check_heads(modifiers.alibi_slopes, q_heads, {"ScoreModifiers.alibi_slopes", 100, false});
  check_heads(modifiers.sinks, q_heads, {"ScoreModifiers.sinks", 127, true});
  if (modifiers.relative_bias) check_relative_bias(*modifiers.relative_bias, q_heads);
}

std::int64_t RelativeBias::bucket(std::int64_t distance) const {
  check_buckets(*this);
  return bucket_of(*this, distance);
}

std::vector<float> alibi_slopes(std::int64_t heads) {
  require(heads >= 1 && heads <= 1 << 20, kBad, "alibi_slopes heads", "1 to 2^20", heads);
  const CanonicalFloatEnv env;
  const auto below = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(heads)));
  std::vector<float> slopes;
  for (std::int64_t h = 0; h < heads; ++h) {
    const std::int64_t step = h < below ? 2 * (h + 1) : 2 * (h - below) + 1;
    slopes.push_back(static_cast<float>(
        elementary::pow(2.0, -4.0 * static_cast<double>(step) / static_cast<double>(below))));
  }
  return slopes;
}

DistanceTable distance_table(const Problem& problem) {
  DistanceTable table;
  if (!problem.modifiers.relative_bias) return table;
  const RelativeBias& relative = *problem.modifiers.relative_bias;
  std::int64_t low = -relative.max_distance, high = relative.max_distance;
  if (problem.q_positions.empty() && problem.kv_positions.empty()) {
    // A chunk of keys is read whole, also where it is the last of the sequence and not full.
    low = std::min<std::int64_t>(1 - problem.kv_tokens, 0);
    high = problem.q_tokens + kChunkKeys;
  }
  table.lowest = low;
  table.highest = high;
  std::vector<std::int64_t> buckets;
  for (std::int64_t distance = low; distance <= high; ++distance)
    buckets.push_back(bucket_of(relative, distance));
  table.bias.reserve(static_cast<std::size_t>(problem.q_heads) * buckets.size());
  for (std::int64_t h = 0; h < problem.q_heads; ++h)
    for (const std::int64_t bucket : buckets)
      table.bias.push_back(relative.table[static_cast<std::size_t>(bucket * problem.q_heads + h)]);
  return table;
}

}  // namespace rapt
