#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace rapt {

// Statistics of what was measured once for each of several texts. Texts are the unit: tokens of one
// text are alike, so a text counts as one observation, however long. All in f64, in a fixed order,
// random numbers by a seed: the same bits everywhere.

struct Interval {
  double low, high;
};

/// sum x / n; NaN where there is none.
double mean_of(std::span<const double> x);

struct BootstrapOptions {
  std::int64_t draws = 10000;
  double level = 0.95;
  std::uint64_t seed = 1;
};

/// An interval of the mean: percentiles of the means of `draws` samples of n, with replacement.
///
/// With few texts it is too narrow: of 10 normal ones a 95% interval holds the mean in some 90%.
/// @throws Error{kBadArgument} if there are fewer than two numbers, one is not finite, draws is not
///         positive or level not within (0, 1).
/// @cost   draws n additions.
/// @source Efron, "Bootstrap methods: another look at the jackknife", 1979.
Interval bootstrap_mean_interval(std::span<const double> x, const BootstrapOptions& options = {});

/// Which means count as at least as far from 0 as the one seen.
enum class Tail {
  kBoth,   ///< |mean| as large
  kAbove,  ///< mean as large
};

/// The probability of a mean as far from 0 as that of x, were the sign of each number a coin's:
/// exact where the numbers are independent and symmetric about 0, whatever their distribution.
///
/// Of all 2^n signs: no p is below 2^-n, or twice that for both tails. More than 32 numbers make 32
/// groups, number n in group n mod 32, of one sign each: as exact, and the least p is 2^-32.
/// @throws Error{kBadArgument} if there is no number, or one is not finite.
/// @cost   some 3 * 2^(n / 2) additions and comparisons, n <= 32.
/// @source Fisher, "The design of experiments", 1935, 21.
double sign_flip_p(std::span<const double> x, Tail tail = Tail::kBoth);

/// The fewest texts with which sign_flip_p can reach level / tests, so that one finding in `tests`
/// can survive benjamini_hochberg at `level`.
/// @throws Error{kBadArgument} if tests is not positive or level not within (0, 1); or if 32 texts
///         are too few, with more than level * 2^32 tests.
std::int64_t texts_needed(std::int64_t tests, double level, Tail tail = Tail::kBoth);

/// p-values adjusted for their number: with q_(i) = min over j >= i of m p_(j) / j, at most 1, those
/// of q <= a hold false findings in a share of at most a, on average.
///
/// It holds for independent tests and for positively dependent ones, as those of heads on the same
/// texts mostly are.
/// @throws Error{kBadArgument} if a p is not within [0, 1].
/// @source Benjamini & Hochberg 1995.
std::vector<double> benjamini_hochberg(std::span<const double> p);

/// Correlation of ranks, those of equal numbers being their mean; NaN where a side is constant.
/// @throws Error{kBadArgument} unless both have the same number, two or more, and none is NaN.
/// @source Spearman 1904.
double rank_correlation(std::span<const double> a, std::span<const double> b);

/// How well one half of the texts ranks the units as the other does: the mean rank correlation of
/// the units' means over the halves, of 100 random halvings. A unit is a row of `values`, a number
/// for each text; of an odd number of texts one is left out each time.
/// @throws Error{kBadArgument} unless there are two units, two texts and equal rows.
double split_half_correlation(std::span<const std::vector<double>> values, std::uint64_t seed = 1);

/// `count` different numbers below `total`, in the order drawn; draw `n` of a seed.
/// @throws Error{kBadArgument} unless 0 <= count <= total.
std::vector<std::int64_t> draw_without_replacement(std::int64_t total, std::int64_t count,
                                                   std::uint64_t seed, std::uint64_t n = 0);

}  // namespace rapt
