#pragma once

#include <immintrin.h>

namespace rapt::RAPT_ISA {
namespace {

/// Arithmetic on denormals and results that are denormal after rounding is that of zero, for as long as
/// the object lives. The compiler knows nothing of it: what is to be flushed stands in functions that are
/// not inlined where the object is.
class FlushedDenormals {
 public:
  FlushedDenormals() : saved_(_mm_getcsr()) { set(saved_ | 0x8040); }
  ~FlushedDenormals() { set(saved_); }
  FlushedDenormals(const FlushedDenormals&) = delete;
  FlushedDenormals& operator=(const FlushedDenormals&) = delete;

 private:
  static void set(unsigned value) {
    asm volatile("" : : : "memory");
    _mm_setcsr(value);
    asm volatile("" : : : "memory");
  }

  unsigned saved_;
};

}  // namespace
}  // namespace rapt::RAPT_ISA
