#include "simd/vec_neon.h"

#include "kernels/observe/observe_inl.h"

namespace rapt::neon {
extern const ObserveKernels kObserve;
const ObserveKernels kObserve = make_observe_kernels(Isa::kNeon);
}  // namespace rapt::neon
