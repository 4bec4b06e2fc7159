#include "attention/reference.h"

#include <cmath>
#include <limits>

namespace rapt {
namespace {

struct Span {
  std::int64_t begin, end;

  bool contains(std::int64_t token) const { return token >= begin && token < end; }
  std::int64_t length() const { return end > begin ? end - begin : 0; }
};

Span tokens(const std::vector<Range>& ranges, std::int64_t b, std::int64_t all) {
  if (ranges.empty()) return {0, all};
  return {ranges[b].begin, ranges[b].end};
}

/// Position of a token: the given one, or `otherwise`.
std::int64_t position(const std::vector<std::int64_t>& given, std::int64_t b, std::int64_t token,
                      std::int64_t tokens, std::int64_t otherwise) {
  if (given.empty()) return otherwise;
  const bool shared = static_cast<std::int64_t>(given.size()) == tokens;
  return given[shared ? token : b * tokens + token];
}

ReferencePair pair_of(const Problem& problem, std::int64_t b, std::int64_t h, std::int64_t i,
                      std::int64_t j) {
  const Span queries = tokens(problem.q_ranges, b, problem.q_tokens);
  const Span keys = tokens(problem.kv_ranges, b, problem.kv_tokens);
  ReferencePair pair{b, h, i, j, i - queries.begin, j - keys.begin, keys.length(), 0, 0, 0};
  pair.place = keys.length() - queries.length() + pair.query_index;
  pair.query_position = position(problem.q_positions, b, i, problem.q_tokens, pair.place);
  pair.key_position = position(problem.kv_positions, b, j, problem.kv_tokens, pair.key_index);
  return pair;
}

/// T5's bucket of key minus query, as its formula has it.
std::int64_t bucket(const RelativeBias& bias, std::int64_t distance) {
  std::int64_t buckets = bias.buckets, base = 0, n = -distance;
  if (bias.bidirectional) {
    buckets /= 2;
    if (n < 0) base = buckets;
    n = n < 0 ? -n : n;
  } else if (n < 0) {
    n = 0;
  }
  const std::int64_t exact = buckets / 2;
  if (n < exact) return base + n;
  const float far = std::log(static_cast<float>(n) / static_cast<float>(exact)) /
                    static_cast<float>(std::log(static_cast<double>(bias.max_distance) /
                                                static_cast<double>(exact))) *
                    static_cast<float>(buckets - exact);
  const std::int64_t large = exact + static_cast<std::int64_t>(far);
  return base + (large < buckets ? large : buckets - 1);
}

/// The score after the modifiers, in their order.
template <class Real>
Real modified(const Problem& problem, const ConstTensor& bias, const ReferencePair& pair, Real s) {
  const ScoreModifiers& m = problem.modifiers;
  if (m.softcap) {
    const Real cap = *m.softcap;
    s = cap * std::tanh(s / cap);
  }
  if (!m.alibi_slopes.empty())
    s -= static_cast<Real>(m.alibi_slopes[pair.h]) *
         static_cast<Real>(std::abs(pair.query_position - pair.key_position));
  if (m.relative_bias)
    s += m.relative_bias->table[bucket(*m.relative_bias, pair.key_position - pair.query_position) *
                                    problem.q_heads +
                                pair.h];
  if (m.additive_bias)
    s += bias.at(bias.extents[0] == 1 ? 0 : pair.b, bias.extents[1] == 1 ? 0 : pair.h,
                 bias.extents[2] == 1 ? 0 : pair.i, bias.extents[3] == 1 ? 0 : pair.j);
  return s;
}

/// A bias of exactly -inf hides its key, as a mask would.
bool hidden_by_bias(const Problem& problem, const ConstTensor& bias, const ReferencePair& pair) {
  if (!problem.modifiers.additive_bias) return false;
  return bias.at(bias.extents[0] == 1 ? 0 : pair.b, bias.extents[1] == 1 ? 0 : pair.h,
                 bias.extents[2] == 1 ? 0 : pair.i,
                 bias.extents[3] == 1 ? 0 : pair.j) == -std::numeric_limits<float>::infinity();
}

/// One row of the attention matrix, then its output.
template <class Real>
struct Row {
  const Problem& problem;
  const ReferenceMask& mask;
  const ReferenceInputs& in;
  std::int64_t b, h, i;  // sequence, query head, query token

  bool sees(std::int64_t j) const {
    return reference_visible(problem, mask, b, h, i, j) &&
           !hidden_by_bias(problem, in.bias, pair_of(problem, b, h, i, j));
  }

  static constexpr Real kHidden = -std::numeric_limits<Real>::infinity();

  std::int64_t kv_head() const { return h / (problem.q_heads / problem.kv_heads); }

  /// scale sum_e q_e k_je, modified.
  Real score(std::int64_t j) const {
    const Real scale = problem.scale ? static_cast<Real>(*problem.scale)
                                     : 1 / std::sqrt(static_cast<Real>(problem.head_dim));
    Real dot = 0;
    for (std::int64_t e = 0; e < problem.head_dim; ++e)
      dot +=
          static_cast<Real>(in.q.at(b, i, h, e)) * static_cast<Real>(in.k.at(b, j, kv_head(), e));
    return modified(problem, in.bias, pair_of(problem, b, h, i, j), scale * dot);
  }

  /// @shape s, a [Tk], o [Dv], lse one value
  void compute(Real* s, Real* a, Real* o, Real* lse) const {
    const std::int64_t v_head_dim = in.v.extents[3];

    // 1. Scores: -inf where the key is hidden.
    for (std::int64_t j = 0; j < problem.kv_tokens; ++j) s[j] = sees(j) ? score(j) : kHidden;

    // 2. The row's maximum, so that no exponential overflows. A sink is a score without a value.
    const std::vector<float>& sinks = problem.modifiers.sinks;
    const Real sink = sinks.empty() ? kHidden : static_cast<Real>(sinks[h]);
    Real max = sink;
    for (std::int64_t j = 0; j < problem.kv_tokens; ++j)
      if (s[j] > max) max = s[j];

    // 3. Weights p_j = exp(s_j - max) and their sum. A score of -inf weighs nothing, even where
    // the maximum is -inf too.
    Real sum = sink == kHidden ? 0 : std::exp(sink - max);
    for (std::int64_t j = 0; j < problem.kv_tokens; ++j) {
      a[j] = s[j] == kHidden ? 0 : std::exp(s[j] - max);
      sum += a[j];
    }

    // 4. lse = ln sum_j exp(s_j): -inf for a row that sees nothing.
    *lse = max + std::log(sum);

    // 5. o = (sum_j p_j v_j) / sum, over the visible keys only: 0 times a hidden NaN would be NaN.
    for (std::int64_t e = 0; e < v_head_dim; ++e) o[e] = 0;
    for (std::int64_t j = 0; j < problem.kv_tokens; ++j) {
      if (!sees(j)) continue;
      for (std::int64_t e = 0; e < v_head_dim; ++e)
        o[e] += a[j] * static_cast<Real>(in.v.at(b, j, kv_head(), e));
    }
    for (std::int64_t e = 0; e < v_head_dim; ++e) o[e] = sum == 0 ? 0 : o[e] / sum;

    // 6. The attention matrix itself: A_j = p_j / sum.
    for (std::int64_t j = 0; j < problem.kv_tokens; ++j) a[j] = sum == 0 ? 0 : a[j] / sum;
  }
};

}  // namespace

ReferenceMask reference_window(std::int64_t before, std::int64_t after) {
  return [before, after](const ReferencePair& pair) {
    const std::int64_t back = pair.query_position - pair.key_position;
    return back <= before && -back <= after;
  };
}

ReferenceMask reference_causal() {
  return [](const ReferencePair& pair) { return pair.key_position <= pair.query_position; };
}

bool reference_visible(const Problem& problem, const ReferenceMask& mask, std::int64_t b,
                       std::int64_t h, std::int64_t i, std::int64_t j) {
  if (!tokens(problem.q_ranges, b, problem.q_tokens).contains(i)) return false;
  if (!tokens(problem.kv_ranges, b, problem.kv_tokens).contains(j)) return false;
  return !mask || mask(pair_of(problem, b, h, i, j));
}

template <class Real>
ReferenceAttention<Real> reference_attention(const Problem& problem, const ReferenceMask& mask,
                                             const ReferenceInputs& in,
                                             const std::vector<std::int64_t>& rows) {
  const std::int64_t v_head_dim = in.v.extents[3];
  const std::size_t count = problem.batch * problem.q_heads * rows.size();
  ReferenceAttention<Real> result;
  result.s.resize(count * problem.kv_tokens);
  result.a.resize(count * problem.kv_tokens);
  result.o.resize(count * v_head_dim);
  result.lse.resize(count);
  std::size_t n = 0;
  for (std::int64_t b = 0; b < problem.batch; ++b)
    for (std::int64_t h = 0; h < problem.q_heads; ++h)
      for (const std::int64_t i : rows) {
        const Row<Real> row{problem, mask, in, b, h, i};
        row.compute(result.s.data() + n * problem.kv_tokens,
                    result.a.data() + n * problem.kv_tokens, result.o.data() + n * v_head_dim,
                    result.lse.data() + n);
        ++n;
      }
  return result;
}

template ReferenceAttention<double> reference_attention(const Problem&, const ReferenceMask&,
                                                        const ReferenceInputs&,
                                                        const std::vector<std::int64_t>&);
template ReferenceAttention<float> reference_attention(const Problem&, const ReferenceMask&,
                                                       const ReferenceInputs&,
                                                       const std::vector<std::int64_t>&);

}  // namespace rapt
