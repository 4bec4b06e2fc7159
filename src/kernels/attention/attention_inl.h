#pragma once

// The attention kernels, for every instruction set.

#include "kernels/attention/pack_inl.h"
#include "kernels/attention/products_inl.h"
#include "kernels/attention/scores_inl.h"
#include "kernels/attention/softmax_inl.h"
#include "kernels/attention/states_inl.h"
#include "kernels/attention/values_inl.h"

namespace rapt::RAPT_ISA {
namespace {

static_assert(fits_registers(kFewStreamRows, kRowGroups));

/// Values of so few rows may lie apart, where fetching in the order of addresses would miss them.
template <class T>
constexpr bool kFewRowsFetchNothing =
    kStream<T>.few_value_rows >= kFewStreamRows&& kStream<T>.few_values.fetch.to == FetchTo::kNone;
static_assert(kFewRowsFetchNothing<float> && kFewRowsFetchNothing<BF16> &&
              kFewRowsFetchNothing<F16>);

inline void row_scores(const AttentionTile& tile) {
  using Products = F32Products<float>;
  if (tile.rows <= kFewStreamRows)
    score_blocks<Products, kFewStreamRows, kRowGroups, kNoFetch, true>(tile);
  else
    score_blocks<Products, kStreamTileRows, 1, kNoFetch, true>(tile);
}

inline void scores(const AttentionTile& tile) noexcept {
  const bool scaled = tile.k_scales != nullptr;
  if (!tile.stream)
    return scaled ? cached_scores<F32Products<float, true>>(tile)
                  : cached_scores<F32Products<float>>(tile);
  if (tile.k_rows != nullptr) return row_scores(tile);
  with_cache_type(tile.dtype,
                  [&]<class T>(T) { stream_scores<F32Products<T, kIsQuantised<T>>>(tile); });
}

inline void softmax(const AttentionTile& tile) noexcept {
  if (tile.v_scales != nullptr) return softmax<F32Products<float, true>>(tile);
  softmax<F32Products<float>>(tile);
}

inline void values(const AttentionTile& tile) noexcept {
  if (!tile.stream) return value_panels<F32Products<float>>(tile);
  with_cache_type(tile.dtype, [&]<class T>(T) { stream_values<F32Products<T>>(tile); });
}

template <class T>
constexpr ReadKernels make_read_kernels() {
  return {scale_query<T>,
          {pack_keys<T, float>, pack_keys<T, BF16>, pack_keys<T, F16>},
          {pack_values<T, float>, pack_values<T, BF16>, pack_values<T, F16>},
          all_finite<T>};
}

constexpr AttentionKernels make_attention_kernels(Isa isa) {
  return {isa,
          kTileRows,
          {make_read_kernels<float>(), make_read_kernels<BF16>(), make_read_kernels<F16>()},
          {widen<float>, widen<BF16>, widen<F16>, widen<std::int8_t>, widen<F8E4M3>},
          scores,
          change_scores,
          softmax,
          values,
          merge,
          join_sinks,
          finish,
          weights<F32Products<float>>};
}

}  // namespace
}  // namespace rapt::RAPT_ISA
