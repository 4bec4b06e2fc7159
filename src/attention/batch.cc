#include "rapt/batch.h"

#include <algorithm>
#include <cstring>

#include "attention/cascade.h"
#include "attention/run.h"
#include "attention/views.h"
#include "base/memory.h"

namespace rapt {
namespace {

bool is_plain(const BatchEntry& entry) {
  return entry.q_positions.empty() && entry.kv_positions.empty();
}

bool computed_together(const BatchEntry& a, const BatchEntry& b) {
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

/// The queries of entries against the first `kv_tokens` of what they share, which all of them see.
Problem prefix_problem(const Problem& shared, DType cache, std::span<const BatchEntry> entries,
                       const std::vector<std::int64_t>& members, std::int64_t kv_tokens) {
  const BatchEntry& any = entries[static_cast<std::size_t>(members.front())];
  Problem p = problem_of(shared, cache, {&any, 1});
  p.kv_tokens = kv_tokens;
  p.kv_ranges.clear();
  p.mask = Mask::none();
  p.q_tokens = 0;
  for (const std::int64_t member : members) {
    const BatchEntry& entry = entries[static_cast<std::size_t>(member)];
    for (std::int64_t i = 0; i < entry.q_tokens; ++i)
      p.q_positions.push_back(entry.kv_tokens - entry.q_tokens + i);
    p.q_tokens += entry.q_tokens;
  }
  return p;
}

/// Whether entries of so many rows a kv head win by sharing: few rows wait for keys and values, and
/// those of more than a stream pack them. What lies between waits for arithmetic, and a prefix of
/// such rows would be packed. docs/performance.md has the measurements.
bool wins_by_sharing(std::int64_t rows, DType cache) {
  const std::int64_t few = size_of(cache) == 2 ? 4 : 8;  // widening a byte costs time as well
  return rows < few || rows > kStreamQueries;
}

/// The cascades of a batch.
std::vector<SharedChunks> shared_chunks(const Problem& shared, const KvTiles& cache,
                                        std::span<const BatchEntry> entries) {
  std::vector<std::int64_t> candidates;
  for (std::int64_t n = 0; n < std::ssize(entries); ++n) {
    const BatchEntry& entry = entries[static_cast<std::size_t>(n)];
    if (entry.q_tokens > 0 && entry.kv_tokens >= kChunk && is_plain(entry) &&
        wins_by_sharing(entry.q_tokens * shared.group(), cache.extents().dtype) &&
        cache.has(entry.sequence) && cache.length(entry.sequence) >= entry.kv_tokens)
      candidates.push_back(n);
  }
  return shared_chunks(cache, entries, std::move(candidates), [&](const BatchEntry& entry) {
    const Problem p = problem_of(shared, cache.extents().dtype, {&entry, 1});
    p.validate();
    return RowOrder(p).apart ? 0 : std::min(TileList(p).full_prefix(0), entry.kv_tokens / kChunk);
  });
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

/// One run of a batch: the memory of a prefix, then that of its runs.
class BatchRun {
 public:
  BatchRun(const BatchPlan& plan, const AnyConstTensor& q, const KvTiles& cache,
           const Result& result)
      : plan_(plan), q_(q), cache_(cache), result_(result) {}

  /// @throws Error as `run`.
  void check() const {
    for (const BatchPlan::Part& part : plan_.parts())
      check_inputs(part.plan.detail(), inputs_of(part));
    for (const BatchPlan::Prefix& prefix : plan_.prefixes()) {
      for (const std::int64_t entry : prefix.entries) check_shared(prefix, entry);
      const Inputs inputs{.cache = &cache_, .sequences = {&sequence_of(prefix.entries.front()), 1}};
      check_sequence(prefix.plan.detail(), inputs, 0);
    }
  }

  void run(Scratch& scratch) const {
    std::size_t of_prefix = 0, of_run = 0;
    for (const BatchPlan::Prefix& prefix : plan_.prefixes()) {
      Carver measure;
      Shared(prefix, measure);
      of_prefix = std::max(of_prefix, measure.bytes());
      of_run = std::max(of_run, prefix.plan.scratch_bytes());
    }
    for (const BatchPlan::Part& part : plan_.parts())
      of_run = std::max(of_run, part.plan.scratch_bytes());
    std::byte* memory = scratch.reserve(of_prefix + of_run);
    run_parts(-1, {}, memory + of_prefix);
    for (std::size_t n = 0; n < plan_.prefixes().size(); ++n) {
      const BatchPlan::Prefix& prefix = plan_.prefixes()[n];
      Carver carver(memory);
      const Shared shared(prefix, carver);
      const Inputs inputs{.q = gather(prefix, shared.q),
                          .cache = &cache_,
                          .sequences = {&sequence_of(prefix.entries.front()), 1}};
      run_in(prefix.plan.detail(), inputs, memory + of_prefix, {}, shared.nodes);
      run_parts(static_cast<std::int64_t>(n), shared.nodes, memory + of_prefix);
    }
  }

 private:
  /// Memory of a prefix: its queries and its nodes.
  struct Shared {
    Shared(const BatchPlan::Prefix& prefix, Carver& carver)
        : q(carver.take<std::byte>(bytes_of(prefix.plan.problem()))),
          nodes(prefix.plan.detail(), carver) {}

    static std::int64_t bytes_of(const Problem& p) {
      return p.q_tokens * p.q_heads * p.head_dim * size_of(p.storage.q);
    }

    std::byte* q;
    PrefixNodes nodes;
  };

  const std::int64_t& sequence_of(std::int64_t entry) const {
    return plan_.sequences_[static_cast<std::size_t>(entry)];
  }

  Inputs inputs_of(const BatchPlan::Part& part) const {
    const Problem& p = part.plan.problem();
    return {.q = tokens_of(q_, part.first_token, p),
            .cache = &cache_,
            .sequences = {&sequence_of(part.first_entry), static_cast<std::size_t>(p.batch)}};
  }

  void check_shared(const BatchPlan::Prefix& prefix, std::int64_t entry) const {
    const std::int64_t sequence = sequence_of(entry), first = sequence_of(prefix.entries.front());
    const std::int64_t shared = cache_.shared_slots(first, sequence);
    if (shared < prefix.kv_tokens)  // only then: the message would be memory
      require(false, ErrorCode::kBadArgument,
              "BatchPlan cache sequence " + std::to_string(sequence),
              std::to_string(prefix.kv_tokens) + " tokens shared with sequence " +
                  std::to_string(first) + ", as when it was planned",
              shared);
  }

  /// The queries of a prefix's entries, one after the other in `memory`.
  AnyConstTensor gather(const BatchPlan::Prefix& prefix, std::byte* memory) const {
    const Problem& p = prefix.plan.problem();
    std::byte* to = memory;
    with_type(q_.dtype, [&]<class T>(T) {
      const auto copy = [&](std::int64_t token, std::int64_t h) {
        const auto* from = static_cast<const T*>(q_.address(0, token, h, 0));
        for (std::int64_t e = 0; e < p.head_dim; ++e, to += sizeof(T))
          std::memcpy(to, from + e * q_.strides[3], sizeof(T));
      };
      for (const std::int64_t entry : prefix.entries)
        for (std::int64_t token = plan_.first_tokens_[static_cast<std::size_t>(entry)];
             token < plan_.first_tokens_[static_cast<std::size_t>(entry) + 1]; ++token)
          for (std::int64_t h = 0; h < p.q_heads; ++h) copy(token, h);
    });
    return {memory, q_.dtype, {1, p.q_tokens, p.q_heads, p.head_dim}};
  }

  /// Runs the parts of a prefix, whose rows come in their order, or of none.
  void run_parts(std::int64_t number, PrefixNodes prefix, std::byte* memory) const {
    for (const BatchPlan::Part& part : plan_.parts()) {
      if (part.prefix != number) continue;
      const Problem& p = part.plan.problem();
      const std::int64_t first = part.first_token;
      run_in(part.plan.detail(), inputs_of(part), memory,
             {tokens_of(result_.o, first, p), rows_of(result_.lse, first, p),
              rows_of(result_.m, first, p), rows_of(result_.l, first, p)},
             prefix);
      prefix.first_row += p.batch * part.plan.detail().rows();
    }
  }

  const BatchPlan& plan_;
  const AnyConstTensor& q_;
  const KvTiles& cache_;
  const Result& result_;
};

BatchPlan make_batch_plan(const Problem& shared, const Threads& threads, const KvTiles& cache,
                          std::span<const BatchEntry> entries) {
  require(!shared.modifiers.additive_bias, ErrorCode::kBadArgument,
          "make_batch_plan.modifiers.additive_bias", "none", "one");
  return with_memory("make_batch_plan", [&] {
    BatchPlan plan;
    const DType dtype = cache.extents().dtype;
    for (const BatchEntry& entry : entries) {
      plan.sequences_.push_back(entry.sequence);
      plan.first_tokens_.push_back(plan.q_tokens_);
      plan.q_tokens_ += entry.q_tokens;
    }
    plan.first_tokens_.push_back(plan.q_tokens_);
    std::vector<std::int64_t> prefix_of(entries.size(), -1);
    for (SharedChunks& group : shared_chunks(shared, cache, entries)) {
      for (const std::int64_t entry : group.entries)
        prefix_of[static_cast<std::size_t>(entry)] = std::ssize(plan.prefixes_);
      const std::int64_t tokens = group.chunks * kChunk;
      const Problem p = prefix_problem(shared, dtype, entries, group.entries, tokens);
      plan.prefixes_.push_back({PlanDetail::make_part(p, threads, source_of(cache, tokens),
                                                      PlanRole::kPrefix, group.chunks),
                                std::move(group.entries), tokens});
    }
    for (std::size_t first = 0, end; first < entries.size(); first = end) {
      const std::int64_t prefix = prefix_of[first];
      for (end = first + 1; end < entries.size(); ++end)
        if (!computed_together(entries[first], entries[end]) || prefix_of[end] != prefix) break;
      const Problem p = problem_of(shared, dtype, entries.subspan(first, end - first));
      const std::int64_t chunks =
          prefix < 0 ? 0 : plan.prefixes_[static_cast<std::size_t>(prefix)].kv_tokens / kChunk;
      plan.parts_.push_back(
          {PlanDetail::make_part(p, threads, source_of(cache, p.kv_tokens),
                                 prefix < 0 ? PlanRole::kWhole : PlanRole::kRest, chunks),
           static_cast<std::int64_t>(first), plan.first_tokens_[first], prefix});
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
  require_dtype(result.o.dtype, any.storage.o, "Result.o type");
  const BatchRun run(plan, q, cache, result);
  run.check();  // before any writes
  run.run(scratch);
}

}  // namespace rapt
