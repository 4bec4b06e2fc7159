#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>

namespace rapt {

/// A sum of numbers in units of 2^-32, which any number of threads add in any order: its bits are the
/// same. One that is infinite is positive. @pre the sum of the numbers' magnitudes is below 2^31
class FixedSum {
 public:
  void add(double x) noexcept {
    if (!std::isfinite(x)) {
      (std::isnan(x) ? is_nan_ : is_infinite_).store(true, std::memory_order_relaxed);
      return;
    }
    const std::int64_t units = std::llround(x * kUnits);
    if (units != 0) units_.fetch_add(units, std::memory_order_relaxed);
  }

  double value() const noexcept {
    if (is_nan_.load(std::memory_order_relaxed)) return std::numeric_limits<double>::quiet_NaN();
    if (is_infinite_.load(std::memory_order_relaxed))
      return std::numeric_limits<double>::infinity();
    return static_cast<double>(units_.load(std::memory_order_relaxed)) / kUnits;
  }

 private:
  static constexpr double kUnits = 0x1p32;
  std::atomic<std::int64_t> units_ = 0;
  std::atomic<bool> is_nan_ = false, is_infinite_ = false;
};

}  // namespace rapt
