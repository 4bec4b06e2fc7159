#include "rapt/sampler.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/elementary.h"
#include "base/float_env.h"

namespace rapt {
namespace {

void check_row(const ConstTensor& logits, const char* where) {
  const Dims expected = {1, 1, 1, logits.extents[3]};
  require(logits.data != nullptr && logits.extents == expected && logits.extents[3] > 0,
          ErrorCode::kBadShape, where, "one row of logits", logits.extents);
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

}  // namespace rapt
