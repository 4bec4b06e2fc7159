#pragma once

// Include after simd/vec_<isa>.h.

#include "kernels/ceilings/ceilings.h"
#include "kernels/weights/weights_inl.h"

namespace rapt::RAPT_ISA {
namespace {

// The accumulators of a full register tile, without its loads and broadcasts.
constexpr int kAccumulators = kTileRows * kTileVectors * 16 / kRegisterLanes;

constexpr double kStepFlops = 2.0 * kAccumulators * kRegisterLanes;

[[maybe_unused]] float multiply_add(std::int64_t steps, float x, float y) noexcept {
  RegisterTile<1, kAccumulators> acc;
  const Register a = broadcast_register(x), b = broadcast_register(y);
  // Equal chains would be computed once.
  unroll<kAccumulators>(
      RAPT_UNROLLED(n) { acc.at[0][n] = broadcast_register(static_cast<float>(n)); });
  for (; steps > 0; --steps)
    unroll<kAccumulators>(RAPT_UNROLLED(n) { accumulate(acc.at[0][n], a, b); });
  constexpr int kPerVector = 16 / kRegisterLanes;
  F32x16 sum = zero();
  unroll<kAccumulators / kPerVector>(RAPT_UNROLLED(n) {
    F32x16 part;
    unroll<kPerVector>(RAPT_UNROLLED(i) { set_register(part, i, acc.at[0][n * kPerVector + i]); });
    sum = add(sum, part);
  });
  return reduce_add(sum);
}

[[maybe_unused]] float exp2_sum(const float* x, std::int64_t floats) noexcept {
  constexpr int kVectors = kExpFloats / 16;
  static_assert(kVectors == 4);
  F32x16 shift[kVectors], sum[1][kVectors];
  unroll<kVectors>(RAPT_UNROLLED(n) { shift[n] = broadcast(weight_shift(0.0f, false)); });
  clear(sum);
  for (const float* end = x + floats; x < end; x += kExpFloats) {
    F32x16 p[kVectors];
    unroll<kVectors>(RAPT_UNROLLED(n) { p[n] = load(x + n * 16); });
    weights_of<false>(p, shift);
    unroll<kVectors>(RAPT_UNROLLED(n) { sum[0][n] = add(sum[0][n], p[n]); });
  }
  return reduce_add(add(add(sum[0][0], sum[0][1]), add(sum[0][2], sum[0][3])));
}

// Streams a page or more apart keep several pages in flight: hardware prefetchers stop at the end
// of one.
template <int kStreams>
float read_streams(const float* data, std::int64_t floats) {
  constexpr int kVectors = 4;  // 256 bytes of a stream at a time
  F32x16 sum[1][kVectors];
  clear(sum);
  const std::int64_t each = kStreams == 1 && floats < kStreamFloats ? floats : kStreamFloats;
  for (const float* end = data + floats; data < end; data += kStreams * kStreamFloats)
    for (std::int64_t i = 0; i < each; i += kVectors * 16)
      unroll<kStreams>(RAPT_UNROLLED(s) {
        unroll<kVectors>(RAPT_UNROLLED(n) {
          sum[0][n] = add(sum[0][n], load(data + s * kStreamFloats + i + n * 16));
        });
      });
  return reduce_add(add(add(sum[0][0], sum[0][1]), add(sum[0][2], sum[0][3])));
}

[[maybe_unused]] float read(const float* data, std::int64_t floats, int streams) noexcept {
  if (streams == 4) return read_streams<4>(data, floats);
  if (streams == 2) return read_streams<2>(data, floats);
  return read_streams<1>(data, floats);
}

}  // namespace
}  // namespace rapt::RAPT_ISA
