#pragma once

// Include after simd/vec_<isa>.h.

#include "kernels/linear/linear.h"
#include "kernels/product/product_inl.h"

namespace rapt::RAPT_ISA {
namespace {

// A panel is some groups of outputs side by side, a piece 512 steps of it. A single strip of rows
// uses each weight once: its groups are as many streams from memory, fetched ahead. Several
// strips find their piece in L2, and bring the next one there meanwhile.
constexpr int kStreams = 4;
static_assert(kStreams % kTileVectors == 0);

// How far ahead. AVX2 leaves it to the hardware where few rows use a weight.
constexpr std::int64_t kWeightsAhead = kRegisterLanes == 8 ? kFetchAhead : 512;
constexpr int kUnfetchedRows = kRegisterLanes == 8 ? 3 : 0;

// Steps of a turn of the loop. AVX2 gains 5% from 4 to 16, AVX-512 loses 3% from 4 to 8.
constexpr int kUnrolled = kRegisterLanes == 8 ? 16 : 4;

// The steps [begin, end) of the depth.
struct Steps {
  std::int64_t begin, end;

  std::int64_t count() const { return end - begin; }
};

RAPT_INLINE Steps steps_from(const LinearBlock& block, std::int64_t begin) {
  return {begin, begin + kLinearDepth < block.depth ? begin + kLinearDepth : block.depth};
}

RAPT_INLINE const float* weights(const LinearBlock& block, std::int64_t group, std::int64_t step) {
  return block.tiles + group * block.tile_stride + step * 16;
}

// Adds the bias to finished accumulators [rows][vectors][16] and writes them to y: while they are in
// L1, but apart from the product, whose registers GCC would otherwise spill.
[[gnu::noinline]] void write(const LinearBlock& block, std::int64_t group, std::int64_t row,
                             int rows, int vectors, const float* acc) {
  for (int r = 0; r < rows; ++r)
    for (int n = 0; n < vectors; ++n, acc += 16) {
      F32x16 sum = load(acc);
      if (block.bias != nullptr) sum = add(sum, load(block.bias + (group + n) * 16));
      store(block.y[row + r] + (group + n) * 16, sum);
    }
}

// Continues kRows x kVectors outputs by `steps`. kFetchSteps 0: the weights come from memory. Else a
// line, from `fetched` on, is brought to L2 every so many steps.
template <int kFetchSteps, int kRows, int kVectors>
void multiply_tile(const LinearBlock& block, Steps steps, std::int64_t group, std::int64_t row,
                   const float* fetched) {
  constexpr int kPerVector = 16 / kRegisterLanes;
  float* acc = block.acc + (group * block.rows + row * kVectors) * 16;
  RegisterTile<kRows, kVectors * kPerVector> tile;
  const auto for_each_vector = [&](auto&& f) __attribute__((always_inline)) {
    unroll<kRows>(RAPT_UNROLLED(r) {
      unroll<kVectors>(
          RAPT_UNROLLED(n) { f(acc + (r * kVectors + n) * 16, &tile.at[r][n * kPerVector]); });
    });
  };
  if (steps.begin == 0)
    for_each_vector([](const float*, Register* sum) __attribute__((always_inline)) {
      unroll<kPerVector>(RAPT_UNROLLED(i) { sum[i] = broadcast_register(0.0f); });
    });
  else
    for_each_vector([](const float* from, Register* sum) __attribute__((always_inline)) {
      const F32x16 v = load(from);
      unroll<kPerVector>(RAPT_UNROLLED(i) { sum[i] = register_of(v, i); });
    });

  RowOperand a{block.x + (steps.begin / kLinearDepth * block.rows + row) * kLinearRowStride,
               kLinearRowStride};
  LaneOperand b{weights(block, group, steps.begin), block.tile_stride, 16};
  const auto step = [&](int n) __attribute__((always_inline)) {
    if constexpr (kFetchSteps == 0) {
      if constexpr (kRows > kUnfetchedRows)
        unroll<kVectors>(RAPT_UNROLLED(v) { fetch(b.data + v * b.vector + kWeightsAhead); });
    } else if (n % kFetchSteps == 0) {
      prefetch_l2(fetched);
      fetched += 16;
    }
    product_step(a, b, tile);
  };
  std::int64_t left = steps.count();
  for (; left >= kUnrolled; left -= kUnrolled) unroll<kUnrolled>(RAPT_UNROLLED(n) { step(n); });
  for (; left > 0; --left) step(1);

  for_each_vector([](float* to, const Register* sum) __attribute__((always_inline)) {
    F32x16 v;
    unroll<kPerVector>(RAPT_UNROLLED(i) { set_register(v, i, sum[i]); });
    store(to, v);
  });
  if (steps.end == block.depth) write(block, group, row, kRows, kVectors, acc);
}

template <int kRows, int kVectors>
void multiply_last_rows(const LinearBlock& block, Steps steps, std::int64_t group, std::int64_t row,
                        const float* fetched) {
  if (block.rows - row == kRows) {
    multiply_tile<4, kRows, kVectors>(block, steps, group, row, fetched);
  } else if constexpr (kRows > 1) {
    multiply_last_rows<kRows - 1, kVectors>(block, steps, group, row, fetched);
  }
}

// Every strip of rows reads the piece anew, and fetches its share of the next; strips beyond the last
// share fetch that again, and the last rows, with a fetch every 4 steps, may fetch less than theirs.
template <int kFetchSteps, int kVectors>
void multiply_piece(const LinearBlock& block, Steps steps, std::int64_t group, const float* next) {
  constexpr std::int64_t kStripLines = kLinearDepth / kFetchSteps;
  std::int64_t line = 0;
  const auto fetched = [&] {
    const float* from = next + line / kLinearDepth * block.tile_stride + line % kLinearDepth * 16;
    if (line + kStripLines < kVectors * kLinearDepth) line += kStripLines;
    return from;
  };
  std::int64_t row = 0;
  for (; row + kTileRows <= block.rows; row += kTileRows)
    multiply_tile<kFetchSteps, kTileRows, kVectors>(block, steps, group, row, fetched());
  multiply_last_rows<kTileRows - 1, kVectors>(block, steps, group, row, fetched());
}

template <int kVectors>
void multiply_piece(const LinearBlock& block, Steps steps, std::int64_t group) {
  const bool last = group + kVectors >= block.groups;
  const float* next = !last                     ? weights(block, group + kVectors, steps.begin)
                      : steps.end < block.depth ? weights(block, 0, steps.end)
                                                : weights(block, group, steps.begin);
  const std::int64_t strips = block.rows / kTileRows;
  if (strips >= 4 * kVectors)
    multiply_piece<4, kVectors>(block, steps, group, next);
  else if (strips >= 2 * kVectors)
    multiply_piece<2, kVectors>(block, steps, group, next);
  else
    multiply_piece<1, kVectors>(block, steps, group, next);
}

void multiply_blocked(const LinearBlock& block) {
  std::int64_t begin = 0;
  do {
    const Steps steps = steps_from(block, begin);
    std::int64_t group = 0;
    for (; group + kTileVectors <= block.groups; group += kTileVectors)
      multiply_piece<kTileVectors>(block, steps, group);
    for (; group < block.groups; ++group) multiply_piece<1>(block, steps, group);
    begin = steps.end;
  } while (begin < block.depth);
}

template <int kRows, int kVectors>
void multiply_streams(const LinearBlock& block, std::int64_t group) {
  std::int64_t begin = 0;
  do {
    const Steps steps = steps_from(block, begin);
    multiply_tile<0, kRows, kVectors>(block, steps, group, 0, nullptr);
    begin = steps.end;
  } while (begin < block.depth);
}

template <int kRows>
void multiply_strip(const LinearBlock& block) {
  if (block.rows < kRows) {
    if constexpr (kRows > 1) multiply_strip<kRows - 1>(block);
    return;
  }
  constexpr int kFit = kTileRows * kTileVectors / kRows,
                kVectors = kFit < kStreams ? kFit : kStreams;
  std::int64_t group = 0;
  for (; group + kVectors <= block.groups; group += kVectors)
    multiply_streams<kRows, kVectors>(block, group);
  for (; group < block.groups; ++group) multiply_streams<kRows, 1>(block, group);
}

void multiply(const LinearBlock& block) noexcept {
  if (block.rows <= kTileRows) {
    multiply_strip<kTileRows>(block);
  } else {
    multiply_blocked(block);
  }
}

}  // namespace
}  // namespace rapt::RAPT_ISA
