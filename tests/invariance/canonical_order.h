#pragma once

#include <cstdint>
#include <vector>

#include "attention/reference.h"
#include "rapt/problem.h"
#include "rapt/tensor.h"
#include "util.h"

namespace rapt::test {

/// The canonical order of docs/numerics.md in plain loops, written from the document and not from
/// the kernels: no vectors, no tiles, no masks, one row at a time. `run` must have these very bits. So
/// is the order of native bf16, which a problem may ask for.

/// A subtree of chunks for one row: sum of p, and of p v, relative to 2^m.
struct CanonicalNode {
  float m;
  float l;
  std::vector<float> acc;  // [Dv]
};

/// Of quantised keys and values, whose elements `Inputs::k` and `v` then hold. [1, B, Hkv, Tk]
struct CanonicalScales {
  Tensor k, v;
};

/// One query row.
struct CanonicalRow {
  const Problem& problem;
  const ReferenceMask& mask;
  const Inputs& in;
  std::int64_t b, h, i;  // sequence, query head, query token
  const CanonicalScales* scales = nullptr;

  /// The subtree of chunks [index 2^level, (index + 1) 2^level).
  CanonicalNode node(int level, std::int64_t index) const;

  /// The whole row, as one subtree, and the sink.
  CanonicalNode root() const;

 private:
  CanonicalNode chunk(std::int64_t index) const;
  bool sees(std::int64_t j) const;
  float score(std::int64_t j) const;
  float bias(std::int64_t j) const;
};

/// o_e = acc_e / l: +0 for a row that has seen nothing, and the one NaN of rapt for every NaN.
float canonical_output(const CanonicalNode& node, std::int64_t e);

/// lse = (m + log2 l) ln 2, with rapt's own log2.
float canonical_lse(const CanonicalNode& node);

/// Whether query tokens `rows` of every sequence and head have the canonical order's exact bits.
testing::AssertionResult canonical_bits(const Problem& problem, const ReferenceMask& mask,
                                        const Inputs& in, const Outputs& out,
                                        const std::vector<std::int64_t>& rows,
                                        const CanonicalScales* scales = nullptr);

}  // namespace rapt::test
