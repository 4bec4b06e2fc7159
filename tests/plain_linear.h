#pragma once

// The linear map's contract in plain loops, and a call of the library's.

#include <cmath>

#include "rapt/linear.h"
#include "util.h"

namespace rapt::test {

/// y = x W^T + bias, each output one fma chain over its inputs, ascending, from +0.
inline Tensor plain_linear(const ConstTensor& x, const ConstTensor& w, const ConstTensor& bias) {
  Tensor y({x.extents[0], x.extents[1], x.extents[2], w.extents[2]});
  for_each_index(y.view.extents, [&](auto a, auto b, auto t, auto n) {
    float sum = 0.0f;
    for (std::int64_t k = 0; k < w.extents[3]; ++k)
      sum = std::fma(x.at(a, b, t, k), w.at(0, 0, n, k), sum);
    y.view.at(a, b, t, n) = bias.data == nullptr ? sum : sum + bias.at(0, 0, 0, n);
  });
  return y;
}

inline Tensor multiply(const Linear& linear, const ConstTensor& x, int threads = 1,
                       Layout layout = Layout::kContiguous) {
  Tensor y({x.extents[0], x.extents[1], x.extents[2], linear.outputs()}, layout);
  fill(y.view, -12345.0f);
  Scratch scratch;
  linear(Threads(threads), x, y.view, scratch);
  return y;
}

}  // namespace rapt::test
