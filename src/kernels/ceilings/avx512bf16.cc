#include "simd/vec_avx512.h"

#include "kernels/ceilings/ceilings_inl.h"

namespace rapt::RAPT_ISA {
namespace {

float dot_pairs(std::int64_t steps, float x, float y) noexcept {
  const BF16 xs[2] = {rapt::to_bf16(x), rapt::to_bf16(x)},
             ys[2] = {rapt::to_bf16(y), rapt::to_bf16(y)};
  const PairRegister a = broadcast_pairs<0>(xs), b = broadcast_pairs<0>(ys);
  RegisterTile<1, kAccumulators> acc;
  // Equal chains would be computed once.
  unroll<kAccumulators>(
      RAPT_UNROLLED(n) { acc.at[0][n] = broadcast_register(static_cast<float>(n)); });
  for (; steps > 0; --steps)
    unroll<kAccumulators>(RAPT_UNROLLED(n) { accumulate_pairs(acc.at[0][n], a, b); });
  F32x16 sum = zero();
  unroll<kAccumulators>(RAPT_UNROLLED(n) { sum = add(sum, acc.vector(0, n)); });
  return reduce_add(sum);
}

}  // namespace

extern const DotCeiling kDotCeiling;
const DotCeiling kDotCeiling = {2 * kStepFlops, dot_pairs};

}  // namespace rapt::RAPT_ISA
