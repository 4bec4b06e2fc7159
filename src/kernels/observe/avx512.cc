#include "simd/vec_avx512.h"

#include "kernels/observe/observe_inl.h"

namespace rapt::avx512 {
extern const ObserveKernels kObserve;
const ObserveKernels kObserve = make_observe_kernels(Isa::kAvx512);
}  // namespace rapt::avx512
