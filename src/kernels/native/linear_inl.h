#pragma once

// Linear maps in native bf16. Include after simd/vec_<isa>.h.

#include "kernels/linear/tuning.h"
#include "kernels/native/linear.h"
#include "kernels/native/pairs_inl.h"

namespace rapt::RAPT_ISA {
namespace {

constexpr std::int64_t kPieceStride = kLinearRowStride * (sizeof(float) / sizeof(PairItem));

inline void round_row(float* x, std::int64_t count) noexcept {
  PairItem* to = reinterpret_cast<PairItem*>(x);  // never ahead of what is read
  std::int64_t n = 0;
  for (; n + 16 <= count; n += 16) {
    BF16 rounded[16];
    store(rounded, load(x + n));
    store(to + n, load(rounded));
  }
  for (; n < count; ++n) {
    float value;
    __builtin_memcpy(&value, x + n, sizeof value);
    to[n] = converted<PairItem>(rapt::to_bf16(value));
  }
  if ((count & 1) != 0) to[count] = PairItem{};
}

/// Continues kRows x kVectors outputs by a piece: inputs [begin, begin + count). A lone strip of rows
/// reads its weights from memory and fetches them ahead.
template <Fetch kFetch, int kRows, int kVectors>
[[gnu::noinline]] void native_multiply_tile(const LinearBlock& block, std::int64_t begin,
                                            std::int64_t count, std::int64_t group,
                                            std::int64_t row) noexcept {
  float* acc = block.acc + (group * block.rows + row) * 16;
  const std::int64_t vector = block.rows * 16;
  RegisterTile<kRows, kVectors> tile;
  unroll<kRows>(RAPT_UNROLLED(r) {
    unroll<kVectors>(RAPT_UNROLLED(n) {
      tile.set_vector(r, n, begin == 0 ? zero() : load(acc + n * vector + r * 16));
    });
  });
  const float* x = block.x + (begin / kLinearDepth * block.rows + row) * kLinearRowStride;
  PairRows a{reinterpret_cast<const PairItem*>(x), kPieceStride};
  PairLanes<false> b{static_cast<const BF16*>(block.tiles) + group * block.tile_stride + begin * 16,
                     block.tile_stride, 32, 0};
  constexpr std::int64_t kAhead = kFetch.ahead_bytes / static_cast<std::int64_t>(sizeof(BF16));
  for (std::int64_t e = 0; e < count; e += 2) {
    unroll<kVectors>(RAPT_UNROLLED(v) { fetch<kFetch.to>(b.data + v * b.vector + kAhead); });
    pair_step<Half::kBoth>(a, b, tile);
  }
  unroll<kRows>(RAPT_UNROLLED(r) {
    unroll<kVectors>(RAPT_UNROLLED(n) { store(acc + n * vector + r * 16, tile.vector(r, n)); });
  });
}

template <int kVectors, int kRows>
inline void native_multiply_rows(const LinearBlock& block, std::int64_t begin, std::int64_t count,
                                 std::int64_t group, std::int64_t row) {
  if (block.rows - row >= kRows)
    native_multiply_tile<kNoFetch, kRows, kVectors>(block, begin, count, group, row);
  else if constexpr (kRows > 1)
    native_multiply_rows<kVectors, kRows - 1>(block, begin, count, group, row);
}

/// A piece of some groups stays in a cache while all strips of rows pass over it.
template <int kVectors>
inline void native_multiply_piece(const LinearBlock& block, std::int64_t begin, std::int64_t count,
                                  std::int64_t group) {
  for (std::int64_t row = 0; row < block.rows; row += kTileRows)
    native_multiply_rows<kVectors, kTileRows>(block, begin, count, group, row);
}

inline void native_multiply_blocked(const LinearBlock& block) {
  for (std::int64_t begin = 0; begin < block.depth; begin += kLinearDepth) {
    const std::int64_t left = block.depth - begin,
                       count = left < kLinearDepth ? left : kLinearDepth;
    std::int64_t group = 0;
    for (; group + kTileVectors <= block.groups; group += kTileVectors)
      native_multiply_piece<kTileVectors>(block, begin, count, group);
    if constexpr (kTileVectors > 1)
      for (; group < block.groups; ++group) native_multiply_piece<1>(block, begin, count, group);
  }
}

/// One strip: each group of weights is a stream from memory, some of them side by side.
template <int kRows>
inline void native_multiply_strip(const LinearBlock& block) {
  if (block.rows < kRows) {
    if constexpr (kRows > 1) native_multiply_strip<kRows - 1>(block);
    return;
  }
  constexpr int kFit = kTileRows * kTileVectors / kRows, kVectors = kFit < 4 ? kFit : 4;
  constexpr Fetch kFetch = kRows > kLinearTuning.unfetched_rows ? kLinearTuning.fetch : kNoFetch;
  const auto stream = [&](std::int64_t group, auto vectors) {
    for (std::int64_t begin = 0; begin < block.depth; begin += kLinearDepth) {
      const std::int64_t left = block.depth - begin;
      native_multiply_tile<kFetch, kRows, decltype(vectors)::value>(
          block, begin, left < kLinearDepth ? left : kLinearDepth, group, 0);
    }
  };
  std::int64_t group = 0;
  for (; group + kVectors <= block.groups; group += kVectors)
    stream(group, std::integral_constant<int, kVectors>{});
  for (; group < block.groups; ++group) stream(group, std::integral_constant<int, 1>{});
}

inline void native_multiply(const LinearBlock& block) noexcept {
  {
    const FlushedDenormals flushed;
    if (block.rows <= kTileRows)
      native_multiply_strip<kTileRows>(block);
    else
      native_multiply_blocked(block);
  }
  for (std::int64_t group = 0; group < block.groups; ++group)
    for (std::int64_t r = 0; r < block.rows; ++r) {
      F32x16 y = load(block.acc + (group * block.rows + r) * 16);
      if (block.bias != nullptr) y = add(y, load(block.bias + group * 16));
      store(block.y[r] + group * 16, y);
    }
}

}  // namespace
}  // namespace rapt::RAPT_ISA
