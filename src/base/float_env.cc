#include "base/float_env.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace rapt {
namespace {

#if defined(__x86_64__)
constexpr unsigned long kCanonical = 0x1F80;  // all exceptions masked, nearest, no FTZ, no DAZ
unsigned long control() { return _mm_getcsr(); }
void set_control(unsigned long value) { _mm_setcsr(static_cast<unsigned>(value)); }
#elif defined(__aarch64__)
constexpr unsigned long kCanonical = 0;
unsigned long control() {
  unsigned long value;
  asm volatile("mrs %0, fpcr" : "=r"(value));
  return value;
}
void set_control(unsigned long value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
#else
#error "rapt: set the floating-point environment of this CPU here"
#endif

}  // namespace

CanonicalFloatEnv::CanonicalFloatEnv() noexcept : saved_(control()) { set_control(kCanonical); }
CanonicalFloatEnv::~CanonicalFloatEnv() { set_control(saved_); }

}  // namespace rapt
