#pragma once

#include <cstdint>
#include <span>

#include "rapt/tensor.h"

namespace rapt {

/// The most likely token of one row of logits; the lowest id among equals.
/// @shape  logits [1, 1, 1, vocab_size]
/// @throws Error{kBadShape} unless logits are one row; Error{kBadArgument} if no logit is above -inf.
std::int32_t greedy(const ConstTensor& logits);

/// ln p of `token` under softmax(logits), in f64.
/// @shape  logits [1, 1, 1, vocab_size]
/// @throws Error{kBadShape} unless logits are one row; Error{kBadArgument} if the token is outside it.
double log_probability(const ConstTensor& logits, std::int32_t token);

/// How the next token is chosen from a row of logits. The fields act in this order, which is also
/// that of Hugging Face transformers:
///
///     1  repetition penalty   logit / penalty if logit > 0, else logit * penalty, once for each
///                             token of the context
///     2  temperature          logit / temperature
///     3  top-k                the k most likely tokens stay
///     4  top-p                the fewest most likely tokens of probability p in all stay
///     5  min-p                tokens at least min_p times as likely as the most likely one stay
///
/// Each cut leaves at least the most likely token, and the probabilities that the next one sees
/// sum to 1 again. Of equal logits the lower id comes first: exactly k tokens pass top-k.
struct SamplerConfig {
  double temperature = 0.0;         ///< finite; 0: the most likely token after the penalty
  std::int64_t top_k = 0;           ///< 0: all
  double top_p = 1.0;               ///< 0 to 1
  double min_p = 0.0;               ///< 0 to 1
  double repetition_penalty = 1.0;  ///< 1e-6 to 1e6; 1: none. @source arXiv:1909.05858
  std::uint64_t seed = 0;
};

/// Draws tokens by a SamplerConfig, in f64.
///
/// The random number is a hash of (seed, position) and nothing else, and all arithmetic is ours: the
/// same logits, context and seed give the same token on every machine, in any batch.
class Sampler {
 public:
  /// @throws Error{kBadArgument} naming the field out of range.
  explicit Sampler(const SamplerConfig& config);

  /// The token at position context.size() of a sequence. A token whose logit is -inf is never drawn.
  ///
  /// @shape  logits [1, 1, 1, vocab_size]
  /// @throws Error{kBadShape} unless logits are one row; Error{kBadArgument} if one is NaN or +inf,
  ///         none is above -inf, or a token of the context is outside the row.
  /// @cost   O(vocab_size + context) in time and memory; with top-p, O(log vocab_size) more for each
  ///         token that stays.
  std::int32_t next(const ConstTensor& logits, std::span<const std::int32_t> context) const;

 private:
  SamplerConfig config_;
};

}  // namespace rapt
