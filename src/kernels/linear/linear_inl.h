#pragma once

// Include after simd/vec_<isa>.h.

#include "kernels/linear/linear.h"
#include "kernels/product/product_inl.h"

namespace rapt::RAPT_ISA {
namespace {

// Steps between two visits to `acc`: enough to hide them, and a panel of weights stays in L2.
constexpr std::int64_t kDepthBlock = 512;

// Steps [begin, end) of the depth, of one panel: kVectors groups of outputs from `group` on.
struct Panel {
  const LinearBlock& block;
  std::int64_t group, begin, end;
};

template <int kRows, int kVectors>
RAPT_INLINE void tile(const Panel& panel, std::int64_t row) {
  const LinearBlock& block = panel.block;
  const auto at = [&](int r, int n) __attribute__((always_inline)) {
    return block.acc + ((panel.group + n) * block.rows + row + r) * 16;
  };
  F32x16 acc[kRows][kVectors];
  clear(acc);
  if (panel.begin > 0) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int n = 0; n < kVectors; ++n) acc[r][n] = load(at(r, n));
  }
  product({block.x + row * block.x_stride + panel.begin, block.x_stride},
          {block.tiles + panel.group * block.tile_stride + panel.begin * 16, block.tile_stride, 16},
          panel.end - panel.begin, acc);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) store(at(r, n), acc[r][n]);
}

template <int kRows, int kVectors>
void tail_tile(const Panel& panel, std::int64_t row) {
  if (panel.block.rows - row == kRows) {
    tile<kRows, kVectors>(panel, row);
  } else if constexpr (kRows > 1) {
    tail_tile<kRows - 1, kVectors>(panel, row);
  }
}

// Adds the bias to finished accumulators of some groups and writes them to y: while they are in L1,
// but apart from the tiles, whose registers GCC would otherwise spill.
[[gnu::noinline]] void write(const LinearBlock& block, std::int64_t group, std::int64_t groups) {
  for (std::int64_t g = group; g < group + groups; ++g)
    for (std::int64_t r = 0; r < block.rows; ++r) {
      F32x16 sum = load(block.acc + (g * block.rows + r) * 16);
      if (block.bias != nullptr) sum = add(sum, load(block.bias + g * 16));
      store(block.y[r] + g * 16, sum);
    }
}

// Every strip of rows reads the panel anew.
template <int kVectors>
void multiply_panel(const Panel& panel) {
  std::int64_t row = 0;
  for (; row + kTileRows <= panel.block.rows; row += kTileRows)
    tile<kTileRows, kVectors>(panel, row);
  tail_tile<kTileRows - 1, kVectors>(panel, row);
  if (panel.end == panel.block.depth) write(panel.block, panel.group, kVectors);
}

void multiply_blocked(const LinearBlock& block) {
  std::int64_t begin = 0;
  do {
    const std::int64_t end = begin + kDepthBlock < block.depth ? begin + kDepthBlock : block.depth;
    std::int64_t group = 0;
    for (; group + kTileVectors <= block.groups; group += kTileVectors)
      multiply_panel<kTileVectors>({block, group, begin, end});
    for (; group < block.groups; ++group) multiply_panel<1>({block, group, begin, end});
    begin = end;
  } while (begin < block.depth);
}

// A single strip of rows uses each weight once: one linear stream through them.
template <int kRows>
void multiply_streamed(const LinearBlock& block) {
  if (block.rows != kRows) {
    if constexpr (kRows > 1) multiply_streamed<kRows - 1>(block);
    return;
  }
  for (std::int64_t group = 0; group < block.groups; ++group) {
    const float* tiles = block.tiles + group * block.tile_stride;
    F32x16 acc[kRows][1];
    clear(acc);
    product<true>({block.x, block.x_stride}, {tiles, 0, 16}, block.depth, acc);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) store(block.acc + (group * kRows + r) * 16, acc[r][0]);
    write(block, group, 1);
  }
}

void multiply(const LinearBlock& block) noexcept {
  if (block.rows <= kTileRows) {
    multiply_streamed<kTileRows>(block);
  } else {
    multiply_blocked(block);
  }
}

}  // namespace
}  // namespace rapt::RAPT_ISA
