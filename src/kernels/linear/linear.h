#pragma once

#include <cstdint>

#include "base/isa.h"
#include "rapt/weight.h"

namespace rapt {

/// Outputs in a group: the lanes of a vector.
inline constexpr std::int64_t kLinearGroup = 16;

/// Steps of the depth that are summed at a time, and how far apart the rows of such a piece of x
/// lie: a constant, so that no register holds it, and off the powers of two, which share cache
/// sets.
inline constexpr std::int64_t kLinearDepth = 512;
inline constexpr std::int64_t kLinearRowStride = kLinearDepth + 16;

/// One block of a linear map: some rows of x by some groups of outputs.
struct LinearBlock {
  const float*
      x;  ///< [depth / kLinearDepth][rows][kLinearRowStride]; the last piece may be shorter
  std::int64_t rows;
  const void* tiles;  ///< [groups][depth][16] of the kernel's type, groups `tile_stride` apart
  std::int64_t tile_stride;
  std::int64_t groups;
  std::int64_t depth;
  const float* scale;  ///< [groups][16], times the chain; null: 1
  const float* bias;   ///< [groups][16], added last; null: nothing is added
  float* const* y;     ///< out: rows, group g at 16 g
  float* acc;          ///< working memory, groups rows 16 floats in the order of the register tiles
};

struct LinearKernels {
  Isa isa;
  int tile_rows, tile_groups;  ///< blocks of a multiple of these waste nothing

  /// y[r][16 g + lane] = scale c + bias, c the chain over e of fma(x[r][e], tiles[g][e][lane], .),
  /// e ascending, from +0; scale c + bias is one fma. Of each WeightType.
  void (*multiply[kWeightTypes])(const LinearBlock& block) noexcept;
};

/// The kernels for `isa`, or for the best instruction set below it.
const LinearKernels& linear_kernels(Isa isa);

}  // namespace rapt
