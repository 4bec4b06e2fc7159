#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <type_traits>

#include "attention/plan_detail.h"
#include "attention/tiles.h"
#include "base/check.h"
#include "kv/layout.h"

namespace rapt {

template <class View>
void require_view(const View& view, const Dims& expected, const char* where) {
  require(view.extents == expected, ErrorCode::kBadShape, where, expected, view.extents);
  const bool empty = expected[0] == 0 || expected[1] == 0 || expected[2] == 0 || expected[3] == 0;
  require(empty || view.data != nullptr, ErrorCode::kBadArgument, where, "a view with data",
          "a null pointer");
}

/// @throws Error{kBadArgument} unless `got` is the problem's.
inline void require_dtype(DType got, DType expected, const char* where) {
  require(got == expected, ErrorCode::kBadArgument, where, name(expected), name(got));
}

/// @throws Error{kBadShape, kBadArgument} unless there is a bias where the problem has one, each
/// extent the problem's or 1.
inline void check_bias(const Problem& problem, const ConstTensor& bias) {
  const bool expected = problem.modifiers.additive_bias;
  require(expected || bias.data == nullptr, ErrorCode::kBadArgument, "Inputs.bias",
          "none: the problem's modifiers have no additive_bias", bias.extents);
  if (!expected) return;
  const Dims all = {problem.batch, problem.q_heads, problem.q_tokens, problem.kv_tokens};
  const bool empty = std::count(all.begin(), all.end(), 0) > 0;
  require(empty || bias.data != nullptr, ErrorCode::kBadArgument, "Inputs.bias", "a view with data",
          "a null pointer");
  for (std::size_t axis = 0; axis < all.size(); ++axis)
    if (bias.extents[axis] != all[axis] && bias.extents[axis] != 1)
      require(false, ErrorCode::kBadShape, "Inputs.bias", all, bias.extents);
}

/// How to read sequences of so many tokens: tiles are read in place where no chunk falls apart, rows
/// where no group does.
inline KvSource source_of(const KvTiles& cache, std::int64_t kv_tokens) {
  const std::int64_t slots = cache.tile_slots();
  const bool in_rows = cache.extents().rows.has_value();
  if (slots % (in_rows ? kGroupKeys : kChunkKeys) == 0 || kv_tokens <= slots)
    return in_rows ? KvSource::kRows : KvSource::kCache;
  return in_rows ? KvSource::kAnyRows : KvSource::kPages;
}

/// What KvSource `source` reads.
inline const char* name_of_tiles(KvSource source) {
  switch (source) {
    case KvSource::kCache:
      return "tiles of whole chunks (KvSource::kCache)";
    case KvSource::kPages:
      return "tiles (KvSource::kPages)";
    case KvSource::kRows:
      return "rows in pages of whole groups (KvSource::kRows)";
    default:
      return "rows in pages (KvSource::kAnyRows)";
  }
}

/// Whether a plan for one source reads what is best read by the other.
inline bool reads(KvSource plan, KvSource best) {
  return plan == best || (plan == KvSource::kPages && best == KvSource::kCache) ||
         (plan == KvSource::kAnyRows && best == KvSource::kRows);
}

/// @throws Error{kBadArgument} if a slot that some query of sequence b sees lies nowhere.
/// @cost   Where none is missing O(pages); the mask is only asked of chunks that miss one.
inline void check_slots(const PlanDetail& plan, const Inputs& inputs, std::int64_t b) {
  const Problem& problem = plan.problem;
  const std::int64_t sequence = inputs.cache_sequence(b), page = inputs.cache->tile_slots();
  KeyBits seen{};
  std::int64_t seen_chunk = -1;  // whose bits those are
  for (std::int64_t h = 0; h < problem.kv_heads && !plan.heads.empty(); ++h) {
    const Range& slots = plan.heads[static_cast<std::size_t>(b * problem.kv_heads + h)].seen;
    const std::int64_t end = std::min(slots.end, problem.kv_range(b).end);
    for (std::int64_t slot = slots.begin;
         (slot = inputs.cache->first_missing(sequence, slot, end)) < end;) {
      const std::int64_t chunk = slot / kChunkKeys;
      if (chunk != seen_chunk) seen = seen_keys(problem, b, chunk);
      seen_chunk = chunk;
      const std::int64_t next = std::min({(slot / page + 1) * page, (chunk + 1) * kChunkKeys, end});
      for (; slot < next; ++slot)
        if (seen.has(static_cast<int>(slot % kChunkKeys)))
          inputs.cache->refuse_missing(sequence, slot);
    }
  }
}

/// @throws Error{kBadArgument, kBadShape} unless the cache has sequence b of the problem, as long as it
/// is there, in tiles as the plan reads them.
inline void check_sequence(const PlanDetail& plan, const Inputs& inputs, std::int64_t b) {
  const std::int64_t sequence = inputs.cache_sequence(b);
  const auto fail = [&](ErrorCode code, const std::string& expected, auto got) {
    require(false, code, "Inputs.cache sequence " + std::to_string(sequence), expected, got);
  };  // only then: the message would be memory
  if (!inputs.cache->has(sequence)) fail(ErrorCode::kBadShape, "a sequence of the cache", "none");
  const std::int64_t needed = plan.problem.kv_range(b).end, length = inputs.cache->length(sequence);
  if (length < needed)
    fail(ErrorCode::kBadShape, "at least " + std::to_string(needed) + " tokens", length);
  const KvSource best = source_of(*inputs.cache, needed);
  if (!reads(plan.source, best))
    fail(ErrorCode::kBadArgument, name_of_tiles(plan.source), name_of_tiles(best));
  check_slots(plan, inputs, b);
}

/// @throws Error{kBadArgument} unless `plan` computes all that its problem asks for.
inline void check_whole(const PlanDetail& plan) {
  require(plan.role == PlanRole::kWhole, ErrorCode::kBadArgument, "Plan", "a plan of make_plan",
          "a part of a BatchPlan that shares chunks");
}

/// @throws Error{kBadShape, kBadArgument} unless the inputs are those of `plan`'s problem. An observer
/// needs no v.
inline void check_inputs(const PlanDetail& plan, const Inputs& inputs) {
  const Problem& problem = plan.problem;
  require_view(inputs.q, {problem.batch, problem.q_tokens, problem.q_heads, problem.head_dim},
               "Inputs.q");
  require_dtype(inputs.q.dtype, problem.storage.q, "Inputs.q type");
  check_bias(problem, inputs.bias);
  if (plan.source == KvSource::kTensors) {
    require_view(inputs.k, {problem.batch, problem.kv_tokens, problem.kv_heads, problem.head_dim},
                 "Inputs.k");
    require_dtype(inputs.k.dtype, problem.storage.k, "Inputs.k type");
    if (plan.observer != nullptr) return;
    require_view(inputs.v,
                 {problem.batch, problem.kv_tokens, problem.kv_heads, problem.value_dim()},
                 "Inputs.v");
    require_dtype(inputs.v.dtype, problem.storage.v, "Inputs.v type");
    return;
  }
  require(inputs.cache != nullptr, ErrorCode::kBadArgument, "Inputs.cache", "a cache",
          "a null pointer");
  const KvTiles::Extents extents = inputs.cache->extents();
  const Dims expected = {1, problem.kv_heads, problem.head_dim, problem.value_dim()};
  const Dims got = {1, extents.kv_heads, extents.head_dim, extents.v_head_dim};
  require(got == expected, ErrorCode::kBadShape, "Inputs.cache [1, kv_heads, head_dim, v_head_dim]",
          expected, got);
  require_dtype(extents.dtype, problem.storage.k, "Inputs.cache type");
  require(inputs.sequences.empty() || std::ssize(inputs.sequences) == problem.batch,
          ErrorCode::kBadShape, "Inputs.sequences", "none, or one for each of the batch",
          inputs.sequences.size());
  for (std::int64_t b = 0; b < problem.batch; ++b) check_sequence(plan, inputs, b);
}

/// @throws as check_inputs, for `o` and those of lse, m and l that are set.
inline void check_result(const Result& result, const Dims& o_extents) {
  require_view(result.o, o_extents, "Result.o");
  const Dims row_extents = {1, o_extents[0], o_extents[2], o_extents[1]};
  if (result.lse.data != nullptr) require_view(result.lse, row_extents, "Result.lse");
  if (result.m.data != nullptr) require_view(result.m, row_extents, "Result.m");
  if (result.l.data != nullptr) require_view(result.l, row_extents, "Result.l");
}

/// Copies x to `dim` elements of any type `stride` apart, rounded once.
template <class T>
void write_elements(const float* x, std::int64_t dim, std::int64_t stride, T* out) {
  if (stride == 1 && std::is_same_v<T, float>)
    std::memcpy(out, x, static_cast<std::size_t>(dim) * sizeof(float));
  else if (stride == 1)
    for (std::int64_t e = 0; e < dim; ++e) out[e] = from_float<T>(x[e]);
  else
    for (std::int64_t e = 0; e < dim; ++e) out[e * stride] = from_float<T>(x[e]);
}

/// Writes one finished row (b, i, h); m and l are the row's before it was finished.
inline void write_row(const Result& result, std::int64_t b, std::int64_t i, std::int64_t h,
                      const float* o, float lse, float m, float l) {
  void* out = result.o.address(b, i, h, 0);
  with_type(result.o.dtype, [&]<class T>(T) {
    write_elements(o, result.o.extents[3], result.o.strides[3], static_cast<T*>(out));
  });
  if (result.lse.data != nullptr) result.lse.at(0, b, h, i) = lse;
  if (result.m.data != nullptr) result.m.at(0, b, h, i) = m;
  if (result.l.data != nullptr) result.l.at(0, b, h, i) = l;
}

}  // namespace rapt
