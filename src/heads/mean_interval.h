#pragma once

#include <cstdint>
#include <span>

#include "rapt/statistics.h"

namespace rapt {

/// P(|T| <= t) of Student's distribution with `freedom` degrees.
///
/// With a = atan(t / sqrt(freedom)) it is, for an even and an odd number of degrees,
///
///     sin a (1 + cos^2 a / 2 + 1 3 / (2 4) cos^4 a + ..)
///     2 / pi (a + sin a (cos a + 2 / 3 cos^3 a + 2 4 / (3 5) cos^5 a + ..))
///
/// to the power freedom - 2 of the cosine.
/// @source Abramowitz & Stegun 26.7.3, 26.7.4
double student_share(double t, std::int64_t freedom);

/// An interval of the mean, mean +- t s / sqrt(n): studentised, so that it is as wide as few texts
/// make it, at levels near 1 too. Numbers that are all equal have no width.
///
/// The same bits everywhere: roots and the four operations alone.
/// @pre    n >= 2 finite numbers, level within (0, 1)
/// @source Student, "The probable error of a mean", 1908
Interval student_interval(std::span<const double> x, double level);

}  // namespace rapt
