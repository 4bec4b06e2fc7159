#include "observe/eigenvalues.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace rapt {
namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();

/// A square matrix that QR steps turn into blocks of one and two rows.
class Hessenberg {
 public:
  Hessenberg(std::vector<double> a, std::int64_t n) : n_(n), a_(std::move(a)) { reduce(); }

  std::vector<std::complex<double>> eigenvalues() {
    std::vector<std::complex<double>> found;
    for (const double x : a_) norm_ += std::abs(x);
    int steps = 0;
    for (std::int64_t last = n_ - 1; last >= 0;) {
      const std::int64_t first = block_begin(last);
      if (first == last) {
        found.emplace_back(at(last, last));
        --last;
        steps = 0;
      } else if (first == last - 1) {
        add_pair(last, found);
        last -= 2;
        steps = 0;
      } else {
        require(steps < 60, ErrorCode::kBadArgument, "eigenvalues a",
                "a matrix whose eigenvalues are found", "none after 60 steps");
        step(first, last, steps++);
      }
    }
    return found;
  }

 private:
  double& at(std::int64_t i, std::int64_t j) { return a_[static_cast<std::size_t>(i * n_ + j)]; }

  /// A reflection v -> v - 2 u (u.v) / (u.u) that leaves the first of `count` elements of u alone.
  struct Reflection {
    double u[3] = {};
    double factor = 0;  ///< 2 / (u.u); 0 changes nothing
  };

  static Reflection reflection_of(const double* x, int count) {
    Reflection r;
    double norm = 0;
    for (int k = 0; k < count; ++k) norm = std::hypot(norm, x[k]);
    if (norm == 0) return r;
    std::copy_n(x, count, r.u);
    r.u[0] += std::copysign(norm, x[0]);
    double square = 0;
    for (int k = 0; k < count; ++k) square += r.u[k] * r.u[k];
    r.factor = 2 / square;
    return r;
  }

  /// Zeros below the first subdiagonal, by reflections on both sides.
  void reduce() {
    std::vector<double> u(static_cast<std::size_t>(n_));
    for (std::int64_t c = 0; c + 2 < n_; ++c) {
      double norm = 0;
      for (std::int64_t i = c + 1; i < n_; ++i) norm = std::hypot(norm, at(i, c));
      if (norm == 0) continue;
      double square = 0;
      for (std::int64_t i = c + 1; i < n_; ++i) {
        double& x = u[static_cast<std::size_t>(i)];
        x = at(i, c);
        if (i == c + 1) x += std::copysign(norm, x);
        square += x * x;
      }
      const double factor = 2 / square;
      for (std::int64_t j = 0; j < n_; ++j) {
        double sum = 0;
        for (std::int64_t i = c + 1; i < n_; ++i) sum += u[static_cast<std::size_t>(i)] * at(i, j);
        for (std::int64_t i = c + 1; i < n_; ++i)
          at(i, j) -= factor * sum * u[static_cast<std::size_t>(i)];
      }
      for (std::int64_t i = 0; i < n_; ++i) {
        double sum = 0;
        for (std::int64_t j = c + 1; j < n_; ++j) sum += at(i, j) * u[static_cast<std::size_t>(j)];
        for (std::int64_t j = c + 1; j < n_; ++j)
          at(i, j) -= factor * sum * u[static_cast<std::size_t>(j)];
      }
    }
    for (std::int64_t i = 0; i < n_; ++i)
      for (std::int64_t j = 0; j + 1 < i; ++j) at(i, j) = 0;
  }

  /// The first row of the block that ends at `last` and cannot be split.
  std::int64_t block_begin(std::int64_t last) {
    for (std::int64_t i = last; i > 0; --i) {
      double size = std::abs(at(i - 1, i - 1)) + std::abs(at(i, i));
      if (size == 0) size = norm_;
      if (std::abs(at(i, i - 1)) > kEpsilon * size) continue;
      at(i, i - 1) = 0;
      return i;
    }
    return 0;
  }

  /// Those of the two rows that end at `last`.
  void add_pair(std::int64_t last, std::vector<std::complex<double>>& found) {
    const double a = at(last - 1, last - 1), d = at(last, last);
    const double product = at(last - 1, last) * at(last, last - 1);
    const double half = (a - d) / 2, square = half * half + product;
    if (square < 0) {
      const double imaginary = std::sqrt(-square);
      found.emplace_back(d + half, imaginary);
      found.emplace_back(d + half, -imaginary);
      return;
    }
    const double z = half + std::copysign(std::sqrt(square), half);
    found.emplace_back(d + z);
    found.emplace_back(z == 0 ? d : d - product / z);
  }

  /// One double-shift QR step on rows [first, last].
  void step(std::int64_t first, std::int64_t last, int steps) {
    double trace = at(last - 1, last - 1) + at(last, last);
    double determinant =
        at(last - 1, last - 1) * at(last, last) - at(last - 1, last) * at(last, last - 1);
    if (steps % 10 == 9) {  // shifts of no matrix, against cycles
      const double size = std::abs(at(last, last - 1)) + std::abs(at(last - 1, last - 2));
      trace = 1.5 * size;
      determinant = size * size;
    }
    const double h00 = at(first, first), h10 = at(first + 1, first);
    double x[3] = {h00 * h00 + at(first, first + 1) * h10 - trace * h00 + determinant,
                   h10 * (h00 + at(first + 1, first + 1) - trace), h10 * at(first + 2, first + 1)};
    for (std::int64_t k = first; k < last; ++k) {
      const int count = static_cast<int>(std::min<std::int64_t>(3, last - k + 1));
      reflect(reflection_of(x, count), k, count, first, last);
      for (int n = 0; n < 3 && k + 1 + n <= last; ++n) x[n] = at(k + 1 + n, k);
    }
    for (std::int64_t i = first + 2; i <= last; ++i)
      for (std::int64_t j = first; j + 1 < i; ++j) at(i, j) = 0;
  }

  /// Applies a reflection of rows and columns [k, k + count) within [first, last].
  void reflect(const Reflection& r, std::int64_t k, int count, std::int64_t first,
               std::int64_t last) {
    for (std::int64_t j = std::max(first, k - 1); j <= last; ++j) {
      double sum = 0;
      for (int n = 0; n < count; ++n) sum += r.u[n] * at(k + n, j);
      for (int n = 0; n < count; ++n) at(k + n, j) -= r.factor * sum * r.u[n];
    }
    for (std::int64_t i = first; i <= std::min(last, k + 3); ++i) {
      double sum = 0;
      for (int n = 0; n < count; ++n) sum += r.u[n] * at(i, k + n);
      for (int n = 0; n < count; ++n) at(i, k + n) -= r.factor * sum * r.u[n];
    }
  }

  std::int64_t n_;
  std::vector<double> a_;
  double norm_ = 0;
};

}  // namespace

std::vector<std::complex<double>> eigenvalues(std::vector<double> a, std::int64_t n) {
  require(std::ssize(a) == n * n, ErrorCode::kBadShape, "eigenvalues a", n * n, a.size());
  for (const double x : a)
    require(std::isfinite(x), ErrorCode::kBadArgument, "eigenvalues a", "finite numbers", x);
  return Hessenberg(std::move(a), n).eigenvalues();
}

}  // namespace rapt
