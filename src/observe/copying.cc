#include "rapt/copying.h"

#include <cmath>
#include <vector>

#include "attention/views.h"
#include "base/float_env.h"
#include "base/memory.h"
#include "observe/eigenvalues.h"

namespace rapt {
namespace {

/// W_V S [Dv, d], or W_V.
std::vector<double> values_between(const ConstTensor& w_v, const ConstTensor& between) {
  const std::int64_t dim = w_v.extents[2], width = w_v.extents[3];
  std::vector<double> out(static_cast<std::size_t>(dim * width));
  for (std::int64_t r = 0; r < dim; ++r) {
    double* row = out.data() + r * width;
    for (std::int64_t k = 0; k < width; ++k) {
      const double w = w_v.at(0, 0, r, k);
      if (between.data == nullptr)
        row[k] = w;
      else
        for (std::int64_t c = 0; c < width; ++c)
          row[c] += w * static_cast<double>(between.at(0, 0, k, c));
    }
  }
  return out;
}

}  // namespace

double copying_score(const ConstTensor& w_v, const ConstTensor& w_o, const ConstTensor& between) {
  const std::int64_t dim = w_v.extents[2], width = w_v.extents[3];
  require_view(w_v, {1, 1, dim, width}, "copying_score w_v");
  require_view(w_o, {1, 1, width, dim}, "copying_score w_o");
  if (between.data != nullptr) require_view(between, {1, 1, width, width}, "copying_score between");
  return with_memory("copying_score", [&] {
    const CanonicalFloatEnv env;
    const std::vector<double> values = values_between(w_v, between);
    std::vector<double> circuit(static_cast<std::size_t>(dim * dim));
    for (std::int64_t r = 0; r < dim; ++r)
      for (std::int64_t k = 0; k < width; ++k)
        for (std::int64_t c = 0; c < dim; ++c)
          circuit[static_cast<std::size_t>(r * dim + c)] +=
              values[static_cast<std::size_t>(r * width + k)] *
              static_cast<double>(w_o.at(0, 0, k, c));
    double sum = 0, size = 0;
    for (const std::complex<double>& eigenvalue : eigenvalues(std::move(circuit), dim)) {
      sum += eigenvalue.real();
      size += std::abs(eigenvalue);
    }
    return sum / size;  // 0 / 0 is NaN
  });
}

}  // namespace rapt
