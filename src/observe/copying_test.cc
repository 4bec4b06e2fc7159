#include "rapt/copying.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "observe/eigenvalues.h"
#include "util.h"

namespace rapt::test {
namespace {

std::vector<std::complex<double>> sorted(std::vector<std::complex<double>> x) {
  std::sort(x.begin(), x.end(), [](const auto& a, const auto& b) {
    return std::pair(a.real(), a.imag()) < std::pair(b.real(), b.imag());
  });
  return x;
}

void expect_near(const std::vector<std::complex<double>>& got,
                 std::vector<std::complex<double>> expected, double tolerance) {
  const auto a = sorted(got), b = sorted(std::move(expected));
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t n = 0; n < a.size(); ++n) EXPECT_LT(std::abs(a[n] - b[n]), tolerance) << n;
}

TEST(Eigenvalues, OfKnownMatrices) {
  EXPECT_TRUE(eigenvalues({}, 0).empty());
  expect_near(eigenvalues({-3}, 1), {-3}, 1e-15);
  expect_near(eigenvalues({0, -2, 2, 0}, 2), {{0, 2}, {0, -2}}, 1e-15);
  expect_near(eigenvalues({2, 1, 0, 2}, 2), {2, 2}, 1e-7);  // defective
  const double root = std::sqrt(0.75);
  expect_near(eigenvalues({0, 0, 1, 1, 0, 0, 0, 1, 0}, 3), {1, {-0.5, root}, {-0.5, -root}}, 1e-14);
  expect_near(eigenvalues({4, 1, 2, 3, 0, -1, 5, 6, 0, 0, 2, 1, 0, 0, 0, 7}, 4), {4, -1, 2, 7},
              1e-13);
  // A companion matrix: (x - 1) ... (x - 6).
  std::vector<double> companion(36);
  const double coefficients[] = {21, -175, 735, -1624, 1764, -720};
  for (std::size_t n = 0; n < 6; ++n) {
    companion[n] = coefficients[n];
    if (n > 0) companion[n * 6 + n - 1] = 1;
  }
  expect_near(eigenvalues(companion, 6), {1, 2, 3, 4, 5, 6}, 1e-8);
}

// Their sum and the sum of their squares are traces, whatever the matrix.
TEST(Eigenvalues, HaveTheTraces) {
  Rng rng(4);
  for (const std::int64_t n : {2, 3, 10, 64, 97}) {
    std::vector<double> a;
    for (std::int64_t k = 0; k < n * n; ++k) a.push_back(rng.normal());
    double trace = 0, of_square = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      trace += a[static_cast<std::size_t>(i * n + i)];
      for (std::int64_t j = 0; j < n; ++j)
        of_square +=
            a[static_cast<std::size_t>(i * n + j)] * a[static_cast<std::size_t>(j * n + i)];
    }
    std::complex<double> sum = 0, squares = 0;
    for (const auto& eigenvalue : eigenvalues(a, n)) {
      sum += eigenvalue;
      squares += eigenvalue * eigenvalue;
    }
    const double tolerance = 1e-12 * static_cast<double>(n * n);
    EXPECT_LT(std::abs(sum - trace), tolerance) << n;
    EXPECT_LT(std::abs(squares - of_square), tolerance) << n;
  }
}

TEST(Eigenvalues, RefusesWhatIsNotFinite) {
  EXPECT_EQ(error_of([] {
              eigenvalues({1, 2, NAN, 3}, 2);
            }),
            "eigenvalues a: expected finite numbers, got nan");
}

TEST(CopyingScore, OfHeadsThatCopySuppressAndDoNeither) {
  const Tensor w_v = normal({1, 1, 8, 24}, 3), other = normal({1, 1, 24, 8}, 9);
  Tensor w_o({1, 1, 24, 8}), negative({1, 1, 24, 8}), reversed({1, 1, 24, 24});
  for_each_index(w_o.view.extents, [&](auto, auto, auto r, auto c) {
    w_o.view.at(0, 0, r, c) = w_v.view.at(0, 0, c, r);
    negative.view.at(0, 0, r, c) = -w_v.view.at(0, 0, c, r);
  });
  for (std::int64_t n = 0; n < 24; ++n) reversed.view.at(0, 0, n, n) = -2.0f;
  EXPECT_NEAR(copying_score(w_v.view, w_o.view), 1.0, 1e-12);
  EXPECT_NEAR(copying_score(w_v.view, negative.view), -1.0, 1e-12);
  EXPECT_NEAR(copying_score(w_v.view, w_o.view, reversed.view), -1.0, 1e-12);
  EXPECT_LT(std::abs(copying_score(w_v.view, other.view)), 0.7);
  const Tensor zeros({1, 1, 24, 8});
  EXPECT_TRUE(std::isnan(copying_score(w_v.view, zeros.view)));
  EXPECT_EQ(error_of([&] { copying_score(w_v.view, w_v.view); }),
            "copying_score w_o: expected [1, 1, 24, 8], got [1, 1, 8, 24]");
}

}  // namespace
}  // namespace rapt::test
