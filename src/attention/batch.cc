#include "rapt/batch.h"

#include <algorithm>

#include "attention/views.h"
#include "base/memory.h"

namespace rapt {
namespace {

bool computed_together(const BatchEntry& a, const BatchEntry& b) {
  const auto is_plain = [](const BatchEntry& entry) {
    return entry.q_positions.empty() && entry.kv_positions.empty();
  };
  return a.q_tokens == b.q_tokens && is_plain(a) && is_plain(b) && a.mask == b.mask;
}

Problem problem_of(const Problem& shared, DType cache, std::span<const BatchEntry> entries) {
  Problem p = shared;
  p.storage.k = p.storage.v = cache;
  p.batch = std::ssize(entries);
  p.q_tokens = entries[0].q_tokens;
  p.mask = entries[0].mask;
  p.q_ranges.clear();
  p.kv_ranges.clear();
  p.q_positions = entries[0].q_positions;
  p.kv_positions = entries[0].kv_positions;
  p.kv_tokens = 0;
  for (const BatchEntry& entry : entries) {
    p.kv_tokens = std::max(p.kv_tokens, entry.kv_tokens);
    p.kv_ranges.push_back({0, entry.kv_tokens});
  }
  return p;
}

/// Tokens [first, first + B T) of [1, tokens, H, D], as [B, T, H, D].
template <class Memory>
AnyView<Memory> tokens_of(const AnyView<Memory>& x, std::int64_t first, const Problem& p) {
  return {x.address(0, first, 0, 0),
          x.dtype,
          {p.batch, p.q_tokens, x.extents[2], x.extents[3]},
          {p.q_tokens * x.strides[1], x.strides[1], x.strides[2], x.strides[3]}};
}

/// The same of [1, 1, H, tokens], as [1, B, H, T].
MutableTensor rows_of(const MutableTensor& x, std::int64_t first, const Problem& p) {
  if (x.data == nullptr) return {};
  return {&x.at(0, 0, 0, first),
          {1, p.batch, x.extents[2], p.q_tokens},
          {0, p.q_tokens * x.strides[3], x.strides[2], x.strides[3]}};
}

}  // namespace

BatchPlan make_batch_plan(const Problem& shared, const Threads& threads, const KvTiles& cache,
                          std::span<const BatchEntry> entries) {
  require(!shared.modifiers.additive_bias, ErrorCode::kBadArgument,
          "make_batch_plan.modifiers.additive_bias", "none", "one");
  return with_memory("make_batch_plan", [&] {
    BatchPlan plan;
    for (const BatchEntry& entry : entries) plan.sequences_.push_back(entry.sequence);
    for (std::size_t first = 0, end; first < entries.size(); first = end) {
      for (end = first + 1; end < entries.size(); ++end)
        if (!computed_together(entries[first], entries[end])) break;
      const Problem p =
          problem_of(shared, cache.extents().dtype, entries.subspan(first, end - first));
      plan.parts_.push_back({make_plan(p, threads, source_of(cache, p.kv_tokens)),
                             static_cast<std::int64_t>(first), plan.q_tokens_});
      plan.q_tokens_ += p.batch * p.q_tokens;
    }
    return plan;
  });
}

void run(const BatchPlan& plan, const AnyConstTensor& q, const KvTiles& cache, Scratch& scratch,
         const Result& result) {
  if (plan.parts_.empty()) return;
  const Problem& any = plan.parts_.front().plan.problem();
  require_view(q, {1, plan.q_tokens_, any.q_heads, any.head_dim}, "BatchPlan q");
  check_result(result, {1, plan.q_tokens_, any.q_heads, any.value_dim()});
  const auto inputs_of = [&](const BatchPlan::Part& part) {
    const Problem& p = part.plan.problem();
    const auto sequences =
        std::span(plan.sequences_)
            .subspan(static_cast<std::size_t>(part.first_entry), static_cast<std::size_t>(p.batch));
    return Inputs{.q = tokens_of(q, part.first_token, p), .cache = &cache, .sequences = sequences};
  };
  for (const BatchPlan::Part& part : plan.parts_)  // before any writes
    check_inputs(part.plan.detail(), inputs_of(part));
  for (const BatchPlan::Part& part : plan.parts_) {
    const Problem& p = part.plan.problem();
    const std::int64_t first = part.first_token;
    run(part.plan, inputs_of(part), scratch,
        {tokens_of(result.o, first, p), rows_of(result.lse, first, p), rows_of(result.m, first, p),
         rows_of(result.l, first, p)});
  }
}

}  // namespace rapt
