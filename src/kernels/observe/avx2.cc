#include "simd/vec_avx2.h"

#include "kernels/observe/observe_inl.h"

namespace rapt::avx2 {
extern const ObserveKernels kObserve;
const ObserveKernels kObserve = make_observe_kernels(Isa::kAvx2);
}  // namespace rapt::avx2
