#include "simd/vec_scalar.h"

#include "kernels/rotary/rotary_inl.h"

namespace rapt::scalar {
extern const RotaryKernels kRotary;
const RotaryKernels kRotary = {Isa::kScalar, rotate};
}  // namespace rapt::scalar
