#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>

namespace rapt {

/// A sum of numbers in units of 2^-32, which any number of threads add in any order: its bits are the
/// same. @pre they are finite, and the sum of their magnitudes is below 2^31
class FixedSum {
 public:
  void add(double x) noexcept {
    const std::int64_t units = std::llround(x * kUnits);
    if (units != 0) units_.fetch_add(units, std::memory_order_relaxed);
  }
  double value() const noexcept {
    return static_cast<double>(units_.load(std::memory_order_relaxed)) / kUnits;
  }

 private:
  static constexpr double kUnits = 0x1p32;
  std::atomic<std::int64_t> units_ = 0;
};

/// Such a sum of any numbers, 2^22 at most. One beyond 2^40 counts as that; an infinite one is
/// positive.
class UnboundedSum {
 public:
  void add(double x) noexcept {
    if (!std::isfinite(x)) {
      (std::isnan(x) ? is_nan_ : is_infinite_).store(true, std::memory_order_relaxed);
      return;
    }
    x = std::clamp(x, -0x1p40, 0x1p40);
    const double whole = std::floor(x);
    whole_.fetch_add(static_cast<std::int64_t>(whole), std::memory_order_relaxed);
    rest_.add(x - whole);
  }
  double value() const noexcept {
    if (is_nan_.load(std::memory_order_relaxed)) return std::numeric_limits<double>::quiet_NaN();
    if (is_infinite_.load(std::memory_order_relaxed))
      return std::numeric_limits<double>::infinity();
    return static_cast<double>(whole_.load(std::memory_order_relaxed)) + rest_.value();
  }

 private:
  std::atomic<std::int64_t> whole_ = 0;
  FixedSum rest_;
  std::atomic<bool> is_nan_ = false, is_infinite_ = false;
};

}  // namespace rapt
