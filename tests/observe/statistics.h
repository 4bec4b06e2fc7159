#pragma once

// Statistics of attention from the f64 matrix, by their definitions alone.

#include <cmath>
#include <limits>
#include <vector>

#include "attention/reference.h"
#include "cases.h"
#include "rapt/observe.h"

namespace rapt::test {

/// Two sequences, 4 heads over 2.
inline AttentionCase observed_case(const NamedMask& mask, Modifiers modifiers, std::int64_t queries,
                                   std::int64_t keys) {
  AttentionCase c;
  c.batch = 2;
  c.q_tokens = queries;
  c.kv_tokens = keys;
  c.q_heads = 4;
  c.kv_heads = 2;
  c.head_dim = 16;
  c.mask = &mask;
  c.modifiers = modifiers;
  return c;
}

/// Weights of keys, others for each sequence and head: a view [1, B, Hq, Tk] of numbers that stay.
inline ConstTensor some_key_weights(const Problem& p) {
  static const Tensor kNumbers = normal({1, 1, 1, 1 << 13}, 6);
  return {kNumbers.view.data, {1, p.batch, p.q_heads, p.kv_tokens}, {0, 7, 3, 1}};
}

/// Every metric, with tokens of seven kinds, others for each sequence.
inline ObserveOptions all_options(const Problem& p) {
  ObserveOptions options;
  options.metrics.assign(row_metrics().begin(), row_metrics().end());
  options.distances = true;
  options.sink_tokens = 4;
  options.window = 37;
  options.keep_rows = true;
  options.key_weights = some_key_weights(p);
  Rng rng(5);
  for (std::int64_t n = 0; n < p.batch * p.kv_tokens; ++n) {
    options.tokens.push_back(static_cast<std::int32_t>(rng.next() % 7) - 3);
    options.token_class.push_back(rng.next() % 3 == 0);
  }
  for (std::int64_t n = 0; n < p.batch * p.q_tokens; ++n)
    options.links.push_back(static_cast<std::int64_t>(rng.next() % (p.kv_tokens + 1)) - 1);
  return options;
}

/// What one row is, and whether it counts, for every metric in the order of row_metrics(); and its
/// bins.
struct RowTruth {
  std::vector<double> values;
  std::vector<bool> counts;
  std::vector<double> bins;
  bool any = false;
};

/// One row of the f64 matrix.
struct MatrixRow {
  std::int64_t b, h, i;
  const double* s;  ///< [Tk], -inf where hidden
  const double* a;  ///< [Tk], 0 where hidden
  double p_s;       ///< of the sink
};

inline std::size_t bin_truth(std::int64_t distance) {
  if (distance < 0) return 0;
  std::size_t bin = 0;
  for (std::int64_t end = 1; ++bin < kDistanceBins - 1 && distance >= end;) end *= 2;
  return bin;
}

inline RowTruth row_truth(const Problem& p, const ObserveOptions& o, const MatrixRow& row) {
  const std::int64_t b = row.b, i = row.i;
  const Range keys = p.kv_range(b), queries = p.q_range(b);
  const std::int64_t place = keys.size() - queries.size() + i - queries.begin;
  const auto token = [&](std::int64_t slot) {
    return o.tokens[static_cast<std::size_t>(b * p.kv_tokens + keys.begin + slot)];
  };
  const bool has_token = place >= 0 && place < keys.size();
  const std::int64_t link = o.links[static_cast<std::size_t>(b * p.q_tokens + i)];

  double sum = 0, entropy = 0, squares = 0, largest = 0, lookback = 0, first = 0, previous = 0,
         local = 0, duplicate = 0, induced = 0, of_class = 0, linked = 0, weighted = 0;
  std::int64_t visible = 0;
  bool repeats = false, follows = false, sees_link = false;
  RowTruth truth;
  truth.bins.resize(static_cast<std::size_t>(kDistanceBins));
  for (std::int64_t slot = 0; slot < keys.size(); ++slot) sum += row.a[keys.begin + slot];
  for (std::int64_t slot = 0; slot < keys.size(); ++slot) {
    const std::int64_t j = keys.begin + slot, d = place - slot;
    const double w = row.a[j], share = w / sum;
    const bool sees = !std::isinf(row.s[j]);  // no visible score is -inf here
    if (w > 0) entropy -= share * std::log(share);
    visible += sees;
    squares += share * share;
    largest = std::max(largest, w);
    lookback += w * static_cast<double>(d);
    if (slot < o.sink_tokens) first += w;
    if (d == 1) previous += w;
    if (std::abs(d) < o.window) local += w;
    if (has_token && d > 0 && token(slot) == token(place)) duplicate += w, repeats |= sees;
    if (has_token && d >= 0 && slot > 0 && token(slot - 1) == token(place))
      induced += w, follows |= sees;
    if (o.token_class[static_cast<std::size_t>(b * p.kv_tokens + j)] != 0) of_class += w;
    if (j == link) linked += w, sees_link = sees;
    weighted += w * static_cast<double>(o.key_weights.at(0, b, row.h, j));
    truth.bins[bin_truth(d)] += w;
  }
  truth.any = sum > 0;
  const double normalised = entropy / std::log(static_cast<double>(visible));
  const double support = std::exp(entropy), renyi = 1 / squares, p_s = row.p_s;
  truth.values = {entropy,  normalised, support,   renyi,   largest,  lookback, first,   p_s,
                  previous, local,      duplicate, induced, of_class, linked,   weighted};
  truth.counts = {true, visible > 1, true,
                  true, true,        true,
                  true, true,        place >= 1 && place <= keys.size(),
                  true, repeats,     follows,
                  true, sees_link,   true};
  return truth;
}

/// Calls f(b, h, i, truth) for every row.
template <class F>
void for_each_row_truth(const AttentionCase& c, const Problem& p, const Inputs& in,
                        const ObserveOptions& options, F&& f) {
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < p.q_tokens; ++i) rows.push_back(i);
  const auto exact =
      reference_attention<double>(p, c.mask->reference, {in.q, in.k, in.v, in.bias}, rows);
  for (std::int64_t b = 0, n = 0; b < p.batch; ++b)
    for (std::int64_t h = 0; h < p.q_heads; ++h)
      for (std::int64_t i = 0; i < p.q_tokens; ++i, ++n) {
        const auto at = static_cast<std::size_t>(n * p.kv_tokens);
        const double lse = exact.lse[static_cast<std::size_t>(n)];
        const double p_s = p.modifiers.sinks.empty()
                               ? 0.0
                               : std::exp(p.modifiers.sinks[static_cast<std::size_t>(h)] - lse);
        f(b, h, i, row_truth(p, options, {b, h, i, exact.s.data() + at, exact.a.data() + at, p_s}));
      }
}

}  // namespace rapt::test
