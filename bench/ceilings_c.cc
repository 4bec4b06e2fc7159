// The ceilings for programs that are not C++: bench/peers loads them beside other libraries.
#include "bench/ceilings.h"

extern "C" {

/// Sets the two ceilings of `threads` threads, a second. Returns 0, or 1 if it could not.
int rapt_ceilings(int threads, double* fma_flops, double* read_bytes) noexcept try {
  static const rapt::bench::CeilingMeter meter;
  const rapt::bench::Ceilings found = meter.measure(rapt::Threads(threads));
  *fma_flops = found.fma_flops;
  *read_bytes = found.read_bytes;
  return 0;
} catch (...) {
  return 1;
}

/// Flops a second of the calling thread just now.
double rapt_fma_flops_now() noexcept { return rapt::bench::fma_flops_now(); }

}  // extern "C"
