#pragma once

// Include after simd/vec_<isa>.h.

#include "kernels/linear/linear.h"
#include "kernels/linear/tuning.h"
#include "kernels/product/product_inl.h"

namespace rapt::RAPT_ISA {
namespace {

// T is the type of the weights: float, BF16, F16 or std::int8_t. Smaller ones become f32 in the
// register that loads them, whatever the number of rows.

// A panel is some groups of outputs side by side, a piece 512 steps of it. A single strip of rows
// uses each weight once: its groups are as many streams from memory, fetched ahead. Several
// strips find their piece in L2, and bring the next one there meanwhile.
constexpr int kStreams = 4;
static_assert(kStreams % kTileVectors == 0);

// The steps [begin, end) of the depth.
struct Steps {
  std::int64_t begin, end;

  std::int64_t count() const { return end - begin; }
};

RAPT_INLINE Steps steps_from(const LinearBlock& block, std::int64_t begin) {
  return {begin, begin + kLinearDepth < block.depth ? begin + kLinearDepth : block.depth};
}

// Weights of a cache line, and steps of a group in one.
template <class T>
constexpr int kLine = 64 / sizeof(T);
template <class T>
constexpr int kLineSteps = kLine<T> / 16;

template <class T>
RAPT_INLINE const T* weights(const LinearBlock& block, std::int64_t group, std::int64_t step) {
  return static_cast<const T*>(block.tiles) + group * block.tile_stride + step * 16;
}

// Orders and scales finished accumulators [rows][vectors][16], adds the bias and writes them to y: while
// they are in L1, but apart from the product, whose registers GCC would otherwise spill.
template <class T>
[[gnu::noinline]] void write(const LinearBlock& block, std::int64_t group, std::int64_t row,
                             int rows, int vectors, const float* acc) {
  for (int r = 0; r < rows; ++r)
    for (int n = 0; n < vectors; ++n, acc += 16) {
      F32x16 y = in_order<T>(load(acc));
      const std::int64_t lanes = (group + n) * 16;
      if (block.scale != nullptr)
        y = block.bias == nullptr ? mul(y, load(block.scale + lanes))
                                  : fma(y, load(block.scale + lanes), load(block.bias + lanes));
      else if (block.bias != nullptr)
        y = add(y, load(block.bias + lanes));
      store(block.y[row + r] + lanes, y);
    }
}

// Continues kRows x kVectors outputs by `steps`. kFetchSteps 0: the weights come from memory. Else a
// line, from `fetched` on, is brought to L2 every so many steps.
template <int kFetchSteps, int kRows, int kVectors, class T>
void multiply_tile(const LinearBlock& block, Steps steps, std::int64_t group, std::int64_t row,
                   const T* fetched) {
  float* acc = block.acc + (group * block.rows + row * kVectors) * 16;
  RegisterTile<kRows, kVectors> tile;
  const auto for_each_vector = [&](auto&& f) __attribute__((always_inline)) {
    unroll<kRows>(RAPT_UNROLLED(r) {
      unroll<kVectors>(RAPT_UNROLLED(n) { f(r, n, acc + (r * kVectors + n) * 16); });
    });
  };
  if (steps.begin == 0)
    for_each_vector([&](int r, int n, const float*)
                        __attribute__((always_inline)) { tile.set_vector(r, n, zero()); });
  else
    for_each_vector([&](int r, int n, const float* from)
                        __attribute__((always_inline)) { tile.set_vector(r, n, load(from)); });

  RowOperand a{block.x + (steps.begin / kLinearDepth * block.rows + row) * kLinearRowStride,
               kLinearRowStride};
  LaneOperand<T> b{weights<T>(block, group, steps.begin), block.tile_stride, 16};
  const auto step = [&](int n) __attribute__((always_inline)) {
    if constexpr (kFetchSteps == 0) {
      constexpr Fetch kFetch =
          kRows > kLinearTuning.unfetched_rows ? kLinearTuning.fetch : kNoFetch;
      constexpr std::int64_t kAhead = kFetch.ahead_bytes / sizeof(T);
      if (n % kLineSteps<T> == 0)
        unroll<kVectors>(RAPT_UNROLLED(v) { fetch<kFetch.to>(b.data + v * b.vector + kAhead); });
    } else if (n % kFetchSteps == 0) {
      fetch_l2(fetched);
      fetched += kLine<T>;
    }
    product_step(a, b, tile);
  };
  std::int64_t left = steps.count();
  constexpr int kTurn = kLinearTuning.turn_steps;
  for (; left >= kTurn; left -= kTurn) unroll<kTurn>(RAPT_UNROLLED(n) { step(n); });
  for (; left > 0; --left) step(1);

  for_each_vector([&](int r, int n, float* to)
                      __attribute__((always_inline)) { store(to, tile.vector(r, n)); });
  if (steps.end == block.depth) write<T>(block, group, row, kRows, kVectors, acc);
}

template <int kRows, int kVectors, class T>
void multiply_last_rows(const LinearBlock& block, Steps steps, std::int64_t group, std::int64_t row,
                        const T* fetched) {
  if (block.rows - row == kRows) {
    multiply_tile<4, kRows, kVectors>(block, steps, group, row, fetched);
  } else if constexpr (kRows > 1) {
    multiply_last_rows<kRows - 1, kVectors>(block, steps, group, row, fetched);
  }
}

// Every strip of rows reads the piece anew, and fetches its share of the next; strips beyond the last
// share fetch that again, and the last rows, with a fetch every 4 steps, may fetch less than theirs.
template <int kFetchSteps, int kVectors, class T>
void multiply_piece(const LinearBlock& block, Steps steps, std::int64_t group, const T* next) {
  constexpr std::int64_t kStripLines = kLinearDepth / kFetchSteps,
                         kGroupLines = kLinearDepth / kLineSteps<T>;
  std::int64_t line = 0;
  const auto fetched = [&] {
    const T* from = next + line / kGroupLines * block.tile_stride + line % kGroupLines * kLine<T>;
    if (line + kStripLines < kVectors * kGroupLines) line += kStripLines;
    return from;
  };
  std::int64_t row = 0;
  for (; row + kTileRows <= block.rows; row += kTileRows)
    multiply_tile<kFetchSteps, kTileRows, kVectors>(block, steps, group, row, fetched());
  multiply_last_rows<kTileRows - 1, kVectors>(block, steps, group, row, fetched());
}

template <class T, int kVectors>
void multiply_piece(const LinearBlock& block, Steps steps, std::int64_t group) {
  const bool last = group + kVectors >= block.groups;
  const T* next = !last                     ? weights<T>(block, group + kVectors, steps.begin)
                  : steps.end < block.depth ? weights<T>(block, 0, steps.end)
                                            : weights<T>(block, group, steps.begin);
  const std::int64_t strips = block.rows / kTileRows * kLineSteps<T>;
  if (strips >= 4 * kVectors)
    multiply_piece<4, kVectors>(block, steps, group, next);
  else if (strips >= 2 * kVectors)
    multiply_piece<2, kVectors>(block, steps, group, next);
  else
    multiply_piece<1, kVectors>(block, steps, group, next);
}

template <class T>
void multiply_blocked(const LinearBlock& block) {
  std::int64_t begin = 0;
  do {
    const Steps steps = steps_from(block, begin);
    std::int64_t group = 0;
    for (; group + kTileVectors <= block.groups; group += kTileVectors)
      multiply_piece<T, kTileVectors>(block, steps, group);
    for (; group < block.groups; ++group) multiply_piece<T, 1>(block, steps, group);
    begin = steps.end;
  } while (begin < block.depth);
}

template <class T, int kRows, int kVectors>
void multiply_streams(const LinearBlock& block, std::int64_t group) {
  std::int64_t begin = 0;
  do {
    const Steps steps = steps_from(block, begin);
    multiply_tile<0, kRows, kVectors, T>(block, steps, group, 0, nullptr);
    begin = steps.end;
  } while (begin < block.depth);
}

template <class T, int kRows>
void multiply_strip(const LinearBlock& block) {
  if (block.rows < kRows) {
    if constexpr (kRows > 1) multiply_strip<T, kRows - 1>(block);
    return;
  }
  constexpr int kFit = kTileRows * kTileVectors / kRows,
                kVectors = kFit < kStreams ? kFit : kStreams;
  std::int64_t group = 0;
  for (; group + kVectors <= block.groups; group += kVectors)
    multiply_streams<T, kRows, kVectors>(block, group);
  for (; group < block.groups; ++group) multiply_streams<T, kRows, 1>(block, group);
}

template <class T>
void multiply(const LinearBlock& block) noexcept {
  if (block.rows <= kTileRows) {
    multiply_strip<T, kTileRows>(block);
  } else {
    multiply_blocked<T>(block);
  }
}

}  // namespace
}  // namespace rapt::RAPT_ISA
