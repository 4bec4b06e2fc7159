#include "attention/run.h"

#include <atomic>
#include <functional>
#include <new>

#include "attention/views.h"

namespace rapt {
namespace {

/// One run of a plan: the waves in order; in each, packing, then the items, taken dynamically.
class Run {
 public:
  Run(const PlanDetail& plan, const Inputs& inputs, std::byte* scratch, const Result& result,
      const PrefixNodes& prefix)
      : plan_(plan),
        inputs_(inputs),
        result_(result),
        prefix_(prefix),
        scratch_(scratch),
        carver_(scratch),
        memory_(plan, carver_) {}

  void wave(const Wave& wave) {
    const KvReader reader(plan_, inputs_, memory_.packed, memory_.flags, wave.head_begin);
    if (plan_.packing == Packing::kHead) pack(wave, reader);
    for (std::int64_t split = wave.split_begin; split < wave.split_end; ++split)
      new (memory_.parts_done + split - wave.split_begin) std::atomic<std::int64_t>(0);
    std::atomic<std::int64_t> ticket = wave.item_begin;
    const auto work = [&](int worker) {
      BlockRunner runner = memory_.runner(plan_, scratch_, worker);
      for (std::int64_t item; (item = ticket.fetch_add(1)) < wave.item_end;)
        attend(runner, reader, wave, item);
    };
    plan_.threads.run(plan_.workers, std::ref(work));
  }

 private:
  void pack(const Wave& wave, const KvReader& reader) {
    const std::int64_t chunks = chunks_of(plan_.slots), heads = wave.head_end - wave.head_begin;
    std::atomic<std::int64_t> ticket = 0;
    const auto work = [&](int worker) {
      const BlockRunner runner = memory_.runner(plan_, scratch_, worker);
      for (std::int64_t task; (task = ticket.fetch_add(1)) < heads * chunks;) {
        const std::int64_t head = wave.head_begin + task / chunks, chunk = task % chunks;
        const Range& seen = plan_.heads[static_cast<std::size_t>(head)].seen;
        if (chunk >= seen.begin / kChunkKeys && chunk < chunks_of(seen.end))
          reader.prepare(head, chunk, runner.chunk_memory());
      }
    };
    plan_.threads.run(plan_.workers, std::ref(work));
  }

  void attend(BlockRunner& runner, const KvReader& reader, const Wave& wave, std::int64_t index) {
    const WorkItem& item = plan_.items[static_cast<std::size_t>(index)];
    const Split& split = plan_.splits[static_cast<std::size_t>(item.split)];
    const PrefixNodes* before = plan_.role == PlanRole::kRest ? &prefix_ : nullptr;
    const auto finish = [&](std::int64_t row, int rows, const StateRows& state) {
      if (plan_.role == PlanRole::kPrefix)
        runner.copy(rows, state, prefix_.at(split.node, item.kv_head, row));
      else
        write(item, row, rows, state);
    };
    if (split.items == 1) return runner.attend(item, inputs_, reader, finish, before);

    const auto partial = [&](std::int64_t part_item, std::int64_t row) {
      const std::int64_t at =
          (part_item - wave.item_begin) * plan_.block_rows + row - item.row_begin;
      return StateRows{memory_.partials.m + at, memory_.partials.l + at,
                       memory_.partials.acc + at * plan_.v_stride};
    };
    runner.attend(item, inputs_, reader, [&](std::int64_t row, int rows, const StateRows& state) {
      runner.copy(rows, state, partial(index, row));
    });
    if (memory_.parts_done[item.split - wave.split_begin].fetch_add(1) + 1 < split.items) return;
    const auto parts = std::span(plan_.items)
                           .subspan(static_cast<std::size_t>(split.first_item),
                                    static_cast<std::size_t>(split.items));
    for (std::int64_t row = item.row_begin; row < item.row_end; row += kTileQueries) {
      const int rows = static_cast<int>(std::min<std::int64_t>(kTileQueries, item.row_end - row));
      runner.merge_parts(
          row, rows, parts, before,
          [&](std::int64_t part) { return partial(split.first_item + part, row); }, finish);
    }
  }

  void write(const WorkItem& item, std::int64_t row, int rows, const StateRows& state) const {
    if (plan_.observer != nullptr) return hand_over(item, row, rows, state);
    float lse[kTileQueries];
    join_sinks(plan_, item.kv_head, row, rows, state);
    plan_.kernels->finish(rows, plan_.v_stride, state, lse);
    for (int r = 0; r < rows; ++r) {
      const auto [i, h] = plan_.query_of(item.kv_head, row + r);
      write_row(result_, item.sequence, i, h, state.acc + r * plan_.v_stride, lse[r], state.m[r],
                state.l[r]);
    }
  }

  void hand_over(const WorkItem& item, std::int64_t row, int rows, const StateRows& state) const {
    for (int r = 0; r < rows; ++r) {
      const auto [i, h] = plan_.query_of(item.kv_head, row + r);
      plan_.observer->finish(item.sequence, i, h, state.m[r], state.l[r],
                             state.acc + r * plan_.v_stride);
    }
  }

  const PlanDetail& plan_;
  const Inputs& inputs_;
  const Result& result_;
  const PrefixNodes& prefix_;
  std::byte* scratch_;
  Carver carver_;
  RunMemory memory_;
};

}  // namespace

void run_in(const PlanDetail& plan, const Inputs& inputs, std::byte* memory, const Result& result,
            const PrefixNodes& prefix) {
  Run run(plan, inputs, memory, result, prefix);
  for (const Wave& wave : plan.waves) run.wave(wave);
}

void run(const Plan& plan, const Inputs& inputs, Scratch& scratch, const Result& result) {
  const PlanDetail& detail = plan.detail();
  const Problem& problem = detail.problem;
  check_whole(detail);
  check_inputs(detail, inputs);
  check_result(result, {problem.batch, problem.q_tokens, problem.q_heads, problem.value_dim()});
  require_dtype(result.o.dtype, problem.storage.o, "Result.o type");
  run_in(detail, inputs, scratch.reserve(detail.scratch_bytes), result);
}

}  // namespace rapt
