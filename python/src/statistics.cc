#include "statistics.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <utility>
#include <vector>

#include "error.h"
#include "rapt/statistics.h"

namespace rapt::python {

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace {

using Numbers = std::vector<double>;

Tail tail_of(const std::string& name, const char* where) {
  if (name != "both" && name != "above") refuse(where, "both or above", name);
  return name == "both" ? Tail::kBoth : Tail::kAbove;
}

}  // namespace

void bind_statistics(nb::module_& m) {
  m.def(
      "bootstrap_mean_interval",
      [](const Numbers& x, std::int64_t draws, double level, std::uint64_t seed) {
        const Interval interval = bootstrap_mean_interval(x, {draws, level, seed});
        return std::pair(interval.low, interval.high);
      },
      "x"_a, nb::kw_only(), "draws"_a = 10000, "level"_a = 0.95, "seed"_a = 1,
      "An interval of the mean of x, one number a text: percentiles of the means of\n"
      "resamples. With few texts it is too narrow.");
  m.def(
      "sign_flip_p",
      [](const Numbers& x, const std::string& tail) {
        return sign_flip_p(x, tail_of(tail, "sign_flip_p.tail"));
      },
      "x"_a, nb::kw_only(), "tail"_a = "both",
      "The probability of a mean as far from 0 (tail both), or as far above (above), as\n"
      "that of x, were the sign of each number a coin's.");
  m.def(
      "texts_needed",
      [](std::int64_t tests, double level, const std::string& tail) {
        return texts_needed(tests, level, tail_of(tail, "texts_needed.tail"));
      },
      "tests"_a, nb::kw_only(), "level"_a = 0.05, "tail"_a = "both",
      "The fewest texts with which sign_flip_p can reach level / tests.");
  m.def(
      "benjamini_hochberg", [](const Numbers& p) { return benjamini_hochberg(p); }, "p"_a,
      "p-values adjusted for their number: the false discovery rate.");
  m.def(
      "rank_correlation", [](const Numbers& a, const Numbers& b) { return rank_correlation(a, b); },
      "a"_a, "b"_a, "Spearman's; NaN where a side is constant.");
  m.def(
      "split_half_correlation",
      [](const std::vector<Numbers>& values, std::uint64_t seed) {
        return split_half_correlation(values, seed);
      },
      "values"_a, nb::kw_only(), "seed"_a = 1,
      "How well one half of the texts (columns) ranks the units (rows) as the other does:\n"
      "the mean rank correlation of 100 random halvings.");
}

}  // namespace rapt::python
