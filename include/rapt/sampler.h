#pragma once

#include <cstdint>

#include "rapt/tensor.h"

namespace rapt {

/// The most likely token of one row of logits; the lowest id among equals.
/// @shape  logits [1, 1, 1, vocab_size]
/// @throws Error{kBadArgument} if no logit is above -inf.
std::int32_t greedy(const ConstTensor& logits);

/// ln p of `token` under softmax(logits), in f64.
/// @shape  logits [1, 1, 1, vocab_size]
/// @throws Error{kBadArgument} if the token is outside the row.
double log_probability(const ConstTensor& logits, std::int32_t token);

}  // namespace rapt
