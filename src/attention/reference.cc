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

/// One row of the attention matrix, then its output.
template <class Real>
struct Row {
  const Problem& problem;
  const ReferenceMask& mask;
  const ConstTensor &q, &k, &v;
  std::int64_t b, h, i;  // sequence, query head, query token

  /// @shape a [Tk], o [Dv], lse one value
  void compute(Real* a, Real* o, Real* lse) const {
    const Real hidden = -std::numeric_limits<Real>::infinity();
    const std::int64_t kv_head = h / (problem.q_heads / problem.kv_heads);
    const std::int64_t v_head_dim = v.extents[3];
    const Real scale = problem.scale ? static_cast<Real>(*problem.scale)
                                     : 1 / std::sqrt(static_cast<Real>(problem.head_dim));

    // 1. Scores: s_j = scale sum_e q_e k_je, -inf where the key is hidden.
    for (std::int64_t j = 0; j < problem.kv_tokens; ++j) {
      a[j] = hidden;
      if (!reference_visible(problem, mask, b, i, j)) continue;
      Real dot = 0;
      for (std::int64_t e = 0; e < problem.head_dim; ++e)
        dot += static_cast<Real>(q.at(b, i, h, e)) * static_cast<Real>(k.at(b, j, kv_head, e));
      a[j] = scale * dot;
    }

    // 2. The row's maximum, so that no exponential overflows.
    Real max = hidden;
    for (std::int64_t j = 0; j < problem.kv_tokens; ++j)
      if (a[j] > max) max = a[j];

    // 3. Weights p_j = exp(s_j - max) and their sum. A score of -inf weighs nothing, even where
    // the maximum is -inf too.
    Real sum = 0;
    for (std::int64_t j = 0; j < problem.kv_tokens; ++j) {
      a[j] = a[j] == hidden ? 0 : std::exp(a[j] - max);
      sum += a[j];
    }

    // 4. lse = ln sum_j exp(s_j): -inf for a row that sees nothing.
    *lse = max + std::log(sum);

    // 5. o = (sum_j p_j v_j) / sum, over the visible keys only: 0 times a hidden NaN would be NaN.
    for (std::int64_t e = 0; e < v_head_dim; ++e) o[e] = 0;
    for (std::int64_t j = 0; j < problem.kv_tokens; ++j) {
      if (!reference_visible(problem, mask, b, i, j)) continue;
      for (std::int64_t e = 0; e < v_head_dim; ++e)
        o[e] += a[j] * static_cast<Real>(v.at(b, j, kv_head, e));
    }
    for (std::int64_t e = 0; e < v_head_dim; ++e) o[e] = sum == 0 ? 0 : o[e] / sum;

    // 6. The attention matrix itself: A_j = p_j / sum.
    for (std::int64_t j = 0; j < problem.kv_tokens; ++j) a[j] = sum == 0 ? 0 : a[j] / sum;
  }
};

}  // namespace

bool reference_visible(const Problem& problem, const ReferenceMask& mask, std::int64_t b,
                       std::int64_t i, std::int64_t j) {
  const Span queries = tokens(problem.q_ranges, b, problem.q_tokens);
  const Span keys = tokens(problem.kv_ranges, b, problem.kv_tokens);
  if (!queries.contains(i) || !keys.contains(j)) return false;
  const std::int64_t key = j - keys.begin;
  const std::int64_t query = keys.length() - queries.length() + (i - queries.begin);
  if (mask.causal && key > query) return false;
  return query - key <= mask.before && key - query <= mask.after;
}

template <class Real>
ReferenceAttention<Real> reference_attention(const Problem& problem, const ReferenceMask& mask,
                                             const ConstTensor& q, const ConstTensor& k,
                                             const ConstTensor& v,
                                             const std::vector<std::int64_t>& rows) {
  const std::int64_t v_head_dim = v.extents[3];
  const std::size_t count = problem.batch * problem.q_heads * rows.size();
  ReferenceAttention<Real> result;
  result.a.resize(count * problem.kv_tokens);
  result.o.resize(count * v_head_dim);
  result.lse.resize(count);
  std::size_t n = 0;
  for (std::int64_t b = 0; b < problem.batch; ++b)
    for (std::int64_t h = 0; h < problem.q_heads; ++h)
      for (const std::int64_t i : rows) {
        const Row<Real> row{problem, mask, q, k, v, b, h, i};
        row.compute(result.a.data() + n * problem.kv_tokens, result.o.data() + n * v_head_dim,
                    result.lse.data() + n);
        ++n;
      }
  return result;
}

template ReferenceAttention<double> reference_attention(const Problem&, const ReferenceMask&,
                                                        const ConstTensor&, const ConstTensor&,
                                                        const ConstTensor&,
                                                        const std::vector<std::int64_t>&);
template ReferenceAttention<float> reference_attention(const Problem&, const ReferenceMask&,
                                                       const ConstTensor&, const ConstTensor&,
                                                       const ConstTensor&,
                                                       const std::vector<std::int64_t>&);

}  // namespace rapt
