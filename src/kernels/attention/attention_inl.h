#pragma once

// The attention kernels, for every instruction set.

#include "kernels/attention/pack_inl.h"
#include "kernels/attention/scores_inl.h"
#include "kernels/attention/softmax_inl.h"
#include "kernels/attention/states_inl.h"
#include "kernels/attention/values_inl.h"

namespace rapt::RAPT_ISA {
namespace {

template <class T>
constexpr ReadKernels make_read_kernels() {
  return {scale_query<T>,
          {pack_keys<T, float>, pack_keys<T, BF16>, pack_keys<T, F16>},
          {pack_values<T, float>, pack_values<T, BF16>, pack_values<T, F16>},
          nonfinite_groups<T>,
          widen<T>};
}

constexpr AttentionKernels make_attention_kernels(Isa isa) {
  return {isa,
          kTileRows,
          {make_read_kernels<float>(), make_read_kernels<BF16>(), make_read_kernels<F16>()},
          scores,
          change_scores,
          softmax,
          values,
          merge,
          join_sinks,
          finish,
          weights};
}

}  // namespace
}  // namespace rapt::RAPT_ISA
