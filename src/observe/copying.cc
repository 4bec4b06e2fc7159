#include "rapt/copying.h"

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <cmath>
#include <limits>

#include "attention/views.h"
#include "base/check.h"
#include "base/float_env.h"
#include "base/memory.h"

namespace rapt {
namespace {

/// f32 numbers, so that no product of three such matrices leaves the range of f64.
Eigen::MatrixXd matrix(const ConstTensor& view, const char* where) {
  Eigen::MatrixXd m(view.extents[2], view.extents[3]);
  for (Eigen::Index r = 0; r < m.rows(); ++r)
    for (Eigen::Index c = 0; c < m.cols(); ++c) {
      m(r, c) = view.at(0, 0, r, c);
      require(std::isfinite(m(r, c)), ErrorCode::kBadArgument, where, "finite weights", m(r, c));
    }
  return m;
}

}  // namespace

double copying_score(const ConstTensor& w_v, const ConstTensor& w_o, const ConstTensor& between) {
  const std::int64_t dim = w_v.extents[2], width = w_v.extents[3];
  require_view(w_v, {1, 1, dim, width}, "copying_score w_v");
  require_view(w_o, {1, 1, width, dim}, "copying_score w_o");
  if (between.data != nullptr) require_view(between, {1, 1, width, width}, "copying_score between");
  return with_memory("copying_score", [&] {
    const CanonicalFloatEnv env;
    Eigen::MatrixXd values = matrix(w_v, "copying_score w_v");
    if (between.data != nullptr) values *= matrix(between, "copying_score between");
    const Eigen::MatrixXd circuit = values * matrix(w_o, "copying_score w_o");
    if (circuit.size() == 0) return std::numeric_limits<double>::quiet_NaN();
    const Eigen::EigenSolver<Eigen::MatrixXd> solver(circuit, /*computeEigenvectors=*/false);
    require(solver.info() == Eigen::Success, ErrorCode::kBadArgument, "copying_score",
            "a matrix whose eigenvalues are found", "one whose QR steps do not end");
    return solver.eigenvalues().real().sum() / solver.eigenvalues().cwiseAbs().sum();  // 0 / 0: NaN
  });
}

}  // namespace rapt
