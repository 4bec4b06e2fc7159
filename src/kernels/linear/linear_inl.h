#pragma once

// Include after simd/vec_<isa>.h.

#include "kernels/linear/linear.h"
#include "kernels/product/product_inl.h"

namespace rapt::RAPT_ISA {
namespace {

// Steps between two visits to `acc`: a panel of weights (16 or 24 KiB) and a strip of x stay in L1.
constexpr std::int64_t kDepthBlock = kTileVectors == 1 ? 256 : 128;

// How far weights that are read once are fetched ahead, in floats.
constexpr std::int64_t kAhead = 2560;

// Steps [begin, end) of the depth, of one panel: kVectors groups of outputs from `group` on.
struct Panel {
  const LinearBlock& block;
  std::int64_t group, begin, end;
  std::int64_t lines;  // of the next panel that each strip of rows fetches every 16 steps
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
  const float* x = block.x + row * block.x_stride;
  const float* tiles = block.tiles + panel.group * block.tile_stride;
  const float* ahead = tiles + kVectors * block.tile_stride + panel.begin * 16 +
                       row / kTileRows * panel.lines * (panel.end - panel.begin);
  std::int64_t e = panel.begin;
#pragma GCC unroll 1
  for (; e + 16 <= panel.end; e += 16, ahead += panel.lines * 16) {
    for (std::int64_t line = 0; line < panel.lines; ++line)
      for (int n = 0; n < kVectors; ++n) prefetch(ahead + n * block.tile_stride + line * 16);
    product(x + e, block.x_stride, tiles + e * 16, 16, block.tile_stride, 16, acc);
  }
  product(x + e, block.x_stride, tiles + e * 16, 16, block.tile_stride,
                           panel.end - e, acc);
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

// Every strip of rows reads the panel from L1, and fetches its share of the next one.
template <int kVectors>
void multiply_panel(const Panel& panel) {
  std::int64_t row = 0;
  for (; row + kTileRows <= panel.block.rows; row += kTileRows)
    tile<kTileRows, kVectors>(panel, row);
  tail_tile<kTileRows - 1, kVectors>(panel, row);
  if (panel.end == panel.block.depth) write(panel.block, panel.group, kVectors);
}

void multiply_blocked(const LinearBlock& block) {
  const std::int64_t strips = block.rows / kTileRows;
  const std::int64_t lines = (16 + strips - 1) / strips;
  std::int64_t begin = 0;
  do {
    const std::int64_t end = begin + kDepthBlock < block.depth ? begin + kDepthBlock : block.depth;
    std::int64_t group = 0;
    for (; group + kTileVectors <= block.groups; group += kTileVectors)
      multiply_panel<kTileVectors>({block, group, begin, end, lines});
    for (; group < block.groups; ++group) multiply_panel<1>({block, group, begin, end, lines});
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
#pragma GCC unroll 1
    for (std::int64_t e = 0; e < block.depth; ++e) {
      prefetch(tiles + e * 16 + kAhead);
      product(block.x + e, block.x_stride, tiles + e * 16, 16, 16, 1, acc);
    }
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
