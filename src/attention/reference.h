#pragma once

#include <cstdint>
#include <vector>

#include "rapt/problem.h"
#include "rapt/tensor.h"

namespace rapt {

/// The reference's own description of a mask, so that it shares no code with `Mask`. Key position j
/// is visible to query position i if
///
///     (not causal or j <= i)  and  i - j <= before  and  j - i <= after.
struct ReferenceMask {
  static constexpr std::int64_t kUnlimited = std::int64_t{1} << 60;

  bool causal = false;
  std::int64_t before = kUnlimited;
  std::int64_t after = kUnlimited;
};

/// Attention of chosen query rows with the attention matrix written out.
template <class Real>
struct ReferenceAttention {
  std::vector<Real> a;    ///< [B, Hq, rows, Tk], 0 for a hidden key
  std::vector<Real> o;    ///< [B, Hq, rows, Dv]
  std::vector<Real> lse;  ///< [B, Hq, rows]
};

/// Whether token `j` of the keys of sequence `b` is visible to token `i` of its queries: neither is
/// padding, and the mask shows the key. The last query stands at the position of the last key.
bool reference_visible(const Problem& problem, const ReferenceMask& mask, std::int64_t b,
                       std::int64_t i, std::int64_t j);

/// The oracle: softmax attention as a textbook has it, for query tokens `rows` of every sequence
/// and head.
///
/// With Real = double it is the truth that tests measure against; with Real = float it is the
/// sequential two-pass loop whose error is the `e` of the error bound. `problem.mask` is not read.
///
/// @cost O(B Hq rows Tk) memory: choose few rows of a long sequence.
template <class Real>
ReferenceAttention<Real> reference_attention(const Problem& problem, const ReferenceMask& mask,
                                             const ConstTensor& q, const ConstTensor& k,
                                             const ConstTensor& v,
                                             const std::vector<std::int64_t>& rows);

}  // namespace rapt
