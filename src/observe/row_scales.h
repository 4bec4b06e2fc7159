#pragma once

#include <vector>

#include "observe/pass.h"

namespace rapt {

/// What turns a row's scores into its weights A = 2^(s - m) / l, the sink in l.
struct RowScales {
  explicit RowScales(const Problem& problem)
      : heads(problem.q_heads),
        q_tokens(problem.q_tokens),
        m(static_cast<std::size_t>(problem.batch * heads * q_tokens),
          -std::numeric_limits<float>::infinity()),
        l(m.size(), 0.0f) {}

  std::size_t at(std::int64_t b, std::int64_t h, std::int64_t i) const {
    return static_cast<std::size_t>((b * heads + h) * q_tokens + i);
  }

  std::int64_t heads, q_tokens;
  std::vector<float> m, l;  ///< [B, Hq, Tq]; l = 0 where no key has a weight
};

/// The first of two passes.
RowScales row_scales(const Problem& problem, const Inputs& inputs, const Threads& threads,
                     Scratch& scratch);

}  // namespace rapt
