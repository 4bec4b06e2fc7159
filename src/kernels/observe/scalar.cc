#include "simd/vec_scalar.h"

#include "kernels/observe/observe_inl.h"

namespace rapt::scalar {
extern const ObserveKernels kObserve;
const ObserveKernels kObserve = make_observe_kernels(Isa::kScalar);
}  // namespace rapt::scalar
