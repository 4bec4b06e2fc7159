#include "rapt/sampler.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/elementary.h"
#include "base/float_env.h"
#include "base/splitmix64.h"

namespace rapt {
namespace {

void check_row(const ConstTensor& logits, const char* where) {
  const Dims expected = {1, 1, 1, logits.extents[3]};
  require(logits.data != nullptr && logits.extents == expected && logits.extents[3] > 0,
          ErrorCode::kBadShape, where, "one row of logits", logits.extents);
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A token that may be drawn.
struct Candidate {
  double logit;
  double weight;  // its probability over that of the most likely candidate
  std::int32_t token;
};
using Candidates = std::vector<Candidate>;

// Whether `a` is the more likely: a total order, so that no cut depends on how it is found.
bool before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

// Whether the token occurs in the context, for every token of the vocabulary.
std::vector<bool> tokens_of(std::span<const std::int32_t> context, std::int64_t vocab) {
  std::vector<bool> occurs(vocab);
  for (std::size_t n = 0; n < context.size(); ++n) {
    if (context[n] < 0 || context[n] >= vocab)
      require(false, ErrorCode::kBadArgument, "Sampler.context[" + std::to_string(n) + "]",
              "0 to " + std::to_string(vocab - 1), context[n]);
    occurs[context[n]] = true;
  }
  return occurs;
}

Candidates penalised(const ConstTensor& logits, std::span<const std::int32_t> context,
                     double penalty) {
  const std::int64_t vocab = logits.extents[3];
  const std::vector<bool> occurs = tokens_of(context, vocab);
  Candidates all;
  all.reserve(vocab);
  for (std::int64_t n = 0; n < vocab; ++n) {
    double logit = logits.at(0, 0, 0, n);
    if (!(logit < kInfinity))
      require(false, ErrorCode::kBadArgument, "Sampler.logits[" + std::to_string(n) + "]",
              "a number or -inf", logit);
    if (logit == -kInfinity) continue;
    if (occurs[n]) logit = logit > 0 ? logit / penalty : logit * penalty;
    all.push_back({logit, 0, static_cast<std::int32_t>(n)});
  }
  require(!all.empty(), ErrorCode::kBadArgument, "Sampler.logits", "a logit above -inf", "none");
  return all;
}

void cut_to_top_k(Candidates& candidates, std::int64_t k) {
  if (k == 0 || k >= std::ssize(candidates)) return;
  std::partial_sort(candidates.begin(), candidates.begin() + k, candidates.end(), before);
  candidates.resize(k);
}

// Softmax without its divisor, which every user of the weights divides out.
void weigh(Candidates& candidates, double largest, double temperature) {
  for (Candidate& c : candidates) c.weight = elementary::exp((c.logit - largest) / temperature);
}

double total_weight(const Candidates& candidates) {
  double sum = 0;
  for (const Candidate& c : candidates) sum += c.weight;
  return sum;
}

// A heap: the candidates that stay are few, and the rest need no order.
void cut_to_top_p(Candidates& candidates, double p) {
  if (p == 1) return;
  const double wanted = p * total_weight(candidates);
  const auto after = [](const Candidate& a, const Candidate& b) { return before(b, a); };
  auto first_kept = candidates.end();
  std::make_heap(candidates.begin(), candidates.end(), after);
  double sum = 0;
  do {
    std::pop_heap(candidates.begin(), first_kept, after);
    sum += (--first_kept)->weight;
  } while (sum < wanted && first_kept != candidates.begin());
  candidates.erase(candidates.begin(), first_kept);
}

std::int32_t draw(const Candidates& candidates, std::uint64_t random) {
  const double uniform = static_cast<double>(random >> 11) * 0x1p-53;  // in [0, 1)
  // The total is at least 1, the weight of the most likely: (1 - 2^-53) total is at least half an
  // ulp below it and rounds to less. So the sums, taken in the same order, pass the target, and do
  // so at a token of positive weight.
  const double target = uniform * total_weight(candidates);
  double sum = 0;
  auto drawn = candidates.begin();
  while ((sum += drawn->weight) <= target) ++drawn;
  return drawn->token;
}

}  // namespace

std::int32_t greedy(const ConstTensor& logits) {
  check_row(logits, "greedy.logits");
  float best = -std::numeric_limits<float>::infinity();
  std::int32_t token = -1;
  for (std::int32_t n = 0; n < logits.extents[3]; ++n) {
    const float logit = logits.at(0, 0, 0, n);
    if (logit > best) {
      best = logit;
      token = n;
    }
  }
  require(token >= 0, ErrorCode::kBadArgument, "greedy.logits", "a logit above -inf", "none");
  return token;
}

double log_probability(const ConstTensor& logits, std::int32_t token) {
  check_row(logits, "log_probability.logits");
  require(token >= 0 && token < logits.extents[3], ErrorCode::kBadArgument, "log_probability.token",
          "0 to " + std::to_string(logits.extents[3] - 1), token);
  const CanonicalFloatEnv env;
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (std::int64_t n = 0; n < logits.extents[3]; ++n)
    largest = std::max<double>(largest, logits.at(0, 0, 0, n));
  for (std::int64_t n = 0; n < logits.extents[3]; ++n)
    sum += elementary::exp(logits.at(0, 0, 0, n) - largest);
  return logits.at(0, 0, 0, token) - largest - elementary::log(sum);
}

Sampler::Sampler(const SamplerConfig& config) : config_(config) {
  const auto check = [](const char* field, double value, double low, double high,
                        const char* expected) {
    require(value >= low && value <= high, ErrorCode::kBadArgument, field, expected, value);
  };
  check("SamplerConfig.temperature", config.temperature, 0, std::numeric_limits<double>::max(),
        "a finite number of at least 0");
  require(config.top_k >= 0, ErrorCode::kBadArgument, "SamplerConfig.top_k", "at least 0",
          config.top_k);
  check("SamplerConfig.top_p", config.top_p, 0, 1, "0 to 1");
  check("SamplerConfig.min_p", config.min_p, 0, 1, "0 to 1");
  check("SamplerConfig.repetition_penalty", config.repetition_penalty, 1e-6, 1e6, "1e-6 to 1e6");
}

std::int32_t Sampler::next(const ConstTensor& logits, std::span<const std::int32_t> context) const {
  check_row(logits, "Sampler.logits");
  const CanonicalFloatEnv env;
  Candidates candidates = penalised(logits, context, config_.repetition_penalty);
  const Candidate best = *std::min_element(candidates.begin(), candidates.end(), before);
  if (config_.temperature == 0) return best.token;
  cut_to_top_k(candidates, config_.top_k);
  weigh(candidates, best.logit, config_.temperature);
  cut_to_top_p(candidates, config_.top_p);
  std::erase_if(candidates, [&](const Candidate& c) { return c.weight < config_.min_p; });
  // The seed is hashed, so that the numbers of two seeds are not one sequence shifted.
  return draw(candidates, splitmix64(mix64(config_.seed), context.size() + 1));
}

}  // namespace rapt
