#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rapt/attention.h"

namespace rapt {

/// A statistic of one row i of the attention matrix A_ij = exp(s_ij - lse_i), for one query head. With
/// i - j is meant the distance in tokens of a sequence: the query's place less the key's slot (see
/// Problem), whatever positions are given. x_j is the token of key j, and x_i the one at the place
/// of query i.
///
/// Where the problem has a sink (a logit without a value) a row sums to 1 - p_s, and masses are
/// shares of all of it. The first four look at the keys alone, A_ij / (1 - p_s): with the sink as
/// one more outcome the entropy is h_b(p_s) + (1 - p_s) H, h_b that of a coin.
///
/// A row counts where a key has a weight, and only
/// - kNormalisedEntropy: where it sees more than one key;
/// - kPreviousToken: where there is a token before;
/// - kDuplicateToken, kInduction, kLink: where it sees a key of that kind, whatever its weight.
enum class RowMetric {
  kEntropy,            ///< H = -sum A ln A, in nats
  kNormalisedEntropy,  ///< H / ln n, n the number of keys that the row sees
  kSupport,            ///< e^H: as many keys of equal weight have this entropy
  kRenyiSupport,       ///< 1 / sum A^2
  kConfidence,         ///< the largest A
  kLookback,           ///< sum A (i - j)
  kSinkMass,           ///< sum of A over the sequence's first `sink_tokens` keys
  kLearnedSink,        ///< p_s = exp(sink - lse); 0 without one
  kPreviousToken,      ///< A at i - j = 1
  kLocality,           ///< sum of A over |i - j| < `window`
  kDuplicateToken,     ///< sum of A over j < i with x_j = x_i
  kInduction,          ///< sum of A over j <= i with x_(j - 1) = x_i: what followed it before
  kTokenClass,         ///< sum of A over keys of ObserveOptions::token_class
  kLink,               ///< A at ObserveOptions::links of the query
  kWeightedMass,       ///< sum of A_ij w_j, w ObserveOptions::key_weights: of norms of W_O v_j, say
};

/// All of them, in that order.
std::span<const RowMetric> row_metrics();

/// "entropy", "normalised_entropy", and so on.
const char* name(RowMetric metric);

/// Bins of the mass by distance d = i - j. Bin 0 is d < 0, bin 1 d = 0, bin n 2^(n-2) <= d < 2^(n-1);
/// the last one has all that is farther.
inline constexpr std::int64_t kDistanceBins = 32;

/// The bin of distance d.
std::int64_t distance_bin(std::int64_t distance);

/// What a pass is to look at.
struct ObserveOptions {
  std::vector<RowMetric> metrics;  ///< each at most once
  bool distances = false;          ///< the mass by distance, too
  std::int64_t sink_tokens = 1;    ///< of kSinkMass
  std::int64_t window = 128;       ///< of kLocality

  /// By key token, padding included, [Tk] for all sequences or [B, Tk]: x_j, any numbers, for
  /// kDuplicateToken and kInduction; and whether key j is of the class of kTokenClass.
  std::vector<std::int32_t> tokens;
  std::vector<std::uint8_t> token_class;

  /// By query token, padding included, [Tq] or [B, Tq]: the key token that each is linked to, or -1,
  /// for kLink.
  std::vector<std::int64_t> links;

  /// [1, B, Hq, Tk] by key token, padding included: w_j of kWeightedMass. A hidden key's takes no
  /// part.
  ConstTensor key_weights{};

  bool keep_rows = false;  ///< fill HeadStatistics::rows
};

/// Statistics of the rows of each query head, by sequence: a batch of texts gives the figures of each.
struct HeadStatistics {
  std::vector<RowMetric> metrics;  ///< those of the options, in that order
  std::int64_t batch = 0;          ///< B
  std::int64_t heads = 0;          ///< Hq

  std::vector<double> sums;          ///< [metrics, B, Hq], over the rows that count, ascending
  std::vector<std::int64_t> counts;  ///< [metrics, B, Hq], rows that count
  std::vector<double> bin_sums;      ///< [B, Hq, kDistanceBins] over the rows that count, or empty
  std::vector<std::int64_t> bin_counts;  ///< [B, Hq] rows in which a key has a weight, or empty

  /// [metrics, B, Hq, Tq] of the latest pass, with ObserveOptions::keep_rows: a row that does not
  /// count is 0, one with a NaN score is NaN.
  std::vector<float> rows;
  std::int64_t q_tokens = 0;  ///< Tq of the latest pass

  /// Mean of a metric over the rows of a head that count, of all sequences or of one. NaN if there is
  /// none.
  /// @throws Error{kBadArgument} if the metric was not asked for, or there is no such head or sequence.
  double mean(RowMetric metric, std::int64_t head) const;
  double mean(RowMetric metric, std::int64_t head, std::int64_t sequence) const;

  /// Rows of a head that count.
  /// @throws as mean.
  std::int64_t count(RowMetric metric, std::int64_t head) const;

  /// Mean mass in each bin of distance, [kDistanceBins]; they sum to 1 less what a sink takes.
  /// @throws as mean.
  std::vector<double> distance_mass(std::int64_t head) const;

  /// A metric's values of the latest pass, [Tq], of one sequence and head.
  /// @throws as mean; Error{kBadArgument} without keep_rows.
  std::span<const float> row_values(RowMetric metric, std::int64_t sequence,
                                    std::int64_t head) const;
};

/// Looks at attention: one pass over the scores and weights of `problem`, without its values, which
/// gives statistics of every row and means of every head. No row of A is ever whole in memory.
///
/// A row's statistics have the same bits for any threads, batch, layout, cache and instruction set,
/// and whether its prompt came at once or in parts; what a mask hides, its token and class too,
/// reaches none: neither values nor counts. (Of tokens, x_i is the query's own, and x_(j-1) stands
/// before a key that is seen: these are read, hidden or not.) Sums over rows are f64, by ascending
/// query: `add_observed` goes on from those of the prompt's earlier parts, with the bits of one
/// pass. A native bf16 problem is looked at in f32 arithmetic.
///
/// @param  inputs as run's; v may be left empty.
/// @throws Error as make_plan and run; Error{kBadArgument} that names the option.
/// @error  1e-5 max(1, |x|) of the f64 matrix, up to 1,024 keys (observe_test).
/// @cost   2 visible_pairs() D flops, and a few for each pair and metric;
///         O(B Hq Tq (metrics + bins)) floats.
/// @source Voita et al., arXiv:1905.09418 (confidence); Vig & Belinkov, arXiv:1906.04284 (distance);
///         Gu et al., arXiv:2410.10781 (sinks); Olsson et al., arXiv:2209.11895 (induction);
///         Kobayashi et al., arXiv:2004.10102 (norms).
HeadStatistics observe(const Problem& problem, const Inputs& inputs, const ObserveOptions& options,
                       const Threads& threads, Scratch& scratch);

/// The same, added to `statistics` of other queries with the same options.
/// @throws as observe; Error{kBadArgument} if they have other metrics, heads or sequences.
void add_observed(const Problem& problem, const Inputs& inputs, const ObserveOptions& options,
                  const Threads& threads, Scratch& scratch, HeadStatistics& statistics);

/// What attention without preferences gives: every key that the mask shows to a row has the same weight,
/// sinks and modifiers take no part. So the chance level of a mass, of every row too.
/// @throws as observe.
/// @cost   as observe with head_dim 1.
HeadStatistics observe_uniform(const Problem& problem, const ObserveOptions& options,
                               const Threads& threads, Scratch& scratch);

}  // namespace rapt
