#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "rapt/problem.h"
#include "rapt/tensor.h"

namespace rapt {

/// One query and one key, neither of them padding, as the reference sees them. It has its own
/// arithmetic for all of this, and shares no code with `Mask`.
struct ReferencePair {
  std::int64_t b, h;                          ///< sequence, query head
  std::int64_t i, j;                          ///< tokens of query and key, padding included
  std::int64_t query_index, key_index;        ///< among the tokens that are not padding
  std::int64_t keys;                          ///< keys of the sequence that are not padding
  std::int64_t place;                         ///< key_index of the query's own token
  std::int64_t query_position, key_position;  ///< the problem's, or place and key_index
};

/// The reference's own description of a mask: whether the query sees the key. Empty: it does.
using ReferenceMask = std::function<bool(const ReferencePair&)>;

/// Keys at most `before` before and `after` after the query, by position.
ReferenceMask reference_window(std::int64_t before, std::int64_t after);
ReferenceMask reference_causal();

/// Attention of chosen query rows with the attention matrix written out.
template <class Real>
struct ReferenceAttention {
  std::vector<Real> s;    ///< [B, Hq, rows, Tk], -inf for a hidden key
  std::vector<Real> a;    ///< [B, Hq, rows, Tk], 0 for a hidden key
  std::vector<Real> o;    ///< [B, Hq, rows, Dv]
  std::vector<Real> lse;  ///< [B, Hq, rows]
};

/// Whether token `j` of the keys of sequence `b` is visible to token `i` of its queries: neither is
/// padding, and the mask shows the key. The last query stands at the place of the last key.
bool reference_visible(const Problem& problem, const ReferenceMask& mask, std::int64_t b,
                       std::int64_t h, std::int64_t i, std::int64_t j);

/// Tensors of the reference; `bias` without data where the problem has none.
struct ReferenceInputs {
  AnyConstTensor q, k, v;
  ConstTensor bias;
};

/// The oracle: softmax attention as a textbook has it, for query tokens `rows` of every sequence
/// and head.
///
/// With Real = double it is the truth that tests measure against; with Real = float it is the
/// sequential two-pass loop whose error is the `e` of the error bound. `problem.mask` is not read.
///
/// @cost O(B Hq rows Tk) memory: choose few rows of a long sequence.
template <class Real>
ReferenceAttention<Real> reference_attention(const Problem& problem, const ReferenceMask& mask,
                                             const ReferenceInputs& in,
                                             const std::vector<std::int64_t>& rows);

}  // namespace rapt
