#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace rapt {

/// Bias by the distance of key and query, learned for buckets of distances (T5).
///
///     s_ij += table[bucket(pos_j - pos_i), h]
///
/// Half of the buckets hold one distance each, the others grow logarithmically up to
/// `max_distance`; with `bidirectional` the two signs have half of the buckets each.
///
/// @source arXiv:1910.10683; the buckets are those of the reference implementation.
struct RelativeBias {
  std::int64_t buckets = 32;
  std::int64_t max_distance = 128;
  bool bidirectional = false;
  std::vector<float> table;  ///< [buckets, Hq]

  /// Bucket of a distance pos_j - pos_i.
  /// @throws Error{kBadArgument} if buckets or max_distance are out of range.
  std::int64_t bucket(std::int64_t distance) const;

  bool operator==(const RelativeBias&) const = default;
};

/// What changes scores. Masks hide keys; modifiers change what visible keys weigh. In this order,
/// whatever is set; see docs/numerics.md:
///
///     s := softcap tanh(s / softcap)                     (Gemma 2)
///     s := s - alibi_slopes[h] |pos_i - pos_j|           (ALiBi)
///     s := s + relative bias                             (T5)
///     s := s + bias[b, h, i, j]                          (Inputs::bias; -inf hides the key)
///     visibility, softmax; a sink exp(sinks[h]) in the sum, without a value
///
/// Softcap, biases of the table and sinks have magnitudes of at most 2^127, slopes of at most 2^100;
/// ALiBi takes positions of magnitude up to 2^23. A finite bias hides nothing, however low.
struct ScoreModifiers {
  std::optional<float> softcap;     ///< above 0
  std::vector<float> alibi_slopes;  ///< [Hq]; empty: none
  std::optional<RelativeBias> relative_bias;
  bool additive_bias = false;  ///< `Inputs::bias` is given
  std::vector<float> sinks;    ///< [Hq], logits; empty: none. -inf is no sink

  bool changes_scores() const {
    return softcap || !alibi_slopes.empty() || relative_bias || additive_bias;
  }

  bool operator==(const ScoreModifiers&) const = default;
};

/// ALiBi's slopes 2^(-8 (h + 1) / H) for a power of two H; for other counts those of the power of
/// two below, then every second slope of the power above, as the paper's code has it.
/// @throws Error{kBadArgument} unless heads is 1 to 2^20.
/// @source arXiv:2108.12409
std::vector<float> alibi_slopes(std::int64_t heads);

}  // namespace rapt
