#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace rapt {

/// The control register of floating-point arithmetic: MXCSR, FPCR.
/// @{
#if defined(__x86_64__)
inline constexpr unsigned long kCanonicalFloatControl = 0x1F80;  // all exceptions masked
inline constexpr unsigned long kFloatFlags = 0x3F;  // sticky: who computes may set them
inline constexpr unsigned long kRoundUp = 0x4000, kFlushToZero = 0x8040;
inline unsigned long float_control() { return _mm_getcsr(); }
inline void set_float_control(unsigned long value) { _mm_setcsr(static_cast<unsigned>(value)); }
#elif defined(__aarch64__)
inline constexpr unsigned long kCanonicalFloatControl = 0;
inline constexpr unsigned long kFloatFlags = 0;  // they have a register of their own
inline constexpr unsigned long kRoundUp = 0x400000, kFlushToZero = 0x1000000;
inline unsigned long float_control() {
  unsigned long value;
  asm volatile("mrs %0, fpcr" : "=r"(value));
  return value;
}
inline void set_float_control(unsigned long value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
#else
#error "rapt: give the control register of this CPU here"
#endif
/// @}

}  // namespace rapt
