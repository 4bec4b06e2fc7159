#pragma once

// The attention kernels, for every instruction set.

#include "kernels/attention/pack_inl.h"
#include "kernels/attention/scores_inl.h"
#include "kernels/attention/softmax_inl.h"
#include "kernels/attention/states_inl.h"
#include "kernels/attention/values_inl.h"

namespace rapt::RAPT_ISA {
namespace {

constexpr AttentionKernels make_attention_kernels(Isa isa) {
  return {isa,     kTileRows, scale_query, pack_keys,  pack_values, scores, change_scores,
          softmax, values,    merge,       join_sinks, finish,      weights};
}

}  // namespace
}  // namespace rapt::RAPT_ISA
