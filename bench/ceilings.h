#pragma once

#include <cstdint>
#include <memory>

#include "rapt/threads.h"

namespace rapt::bench {

/// What the machine can do at most, a second.
struct Ceilings {
  double fma_flops = 0;
  double exp_elements = 0;  ///< 2^x as the softmax takes it
  double read_bytes = 0;
  double dot_flops = 0;  ///< of the bf16 dot product instruction; 0 where there is none

  /// Flops a second of products of either kind: without the instruction a pair of bf16 is two fma.
  double product_flops(bool pairs) const { return pairs && dot_flops > 0 ? dot_flops : fma_flops; }
};

/// Flops a second of this thread's fma chains for about 0.2 ms: what the clock allows just now.
/// Products, which load as well, lower the clock of some processors; under fma chains it takes
/// milliseconds to return.
double fma_flops_now();

/// The larger of each.
Ceilings larger(const Ceilings& a, const Ceilings& b);

/// Floats that the read ceiling takes, and bytes that rotated operands fill at least: 1 GiB, far
/// more than any cache; what a cache keeps of it flatters both alike.
inline constexpr std::int64_t kReadFloats = std::int64_t{1} << 28;
inline constexpr double kReadBytes = kReadFloats * sizeof(float);

/// Measures ceilings: the best of several bursts of independent fma chains, of exponentials of
/// numbers in the first-level cache, and of reads as 1, 2 and 4 streams a thread, in memory of the
/// library's allocator.
class CeilingMeter {
 public:
  /// @throws Error{kOutOfMemory}.
  CeilingMeter();

  /// @cost about half a second.
  Ceilings measure(const Threads& threads) const;

 private:
  double read_bytes(const Threads& threads) const;

  std::unique_ptr<float, void (*)(float*)> data_;
};

}  // namespace rapt::bench
