#include "rapt/received.h"

#include <bit>

#include "base/memory.h"
#include "observe/observed_inputs.h"
#include "observe/row_scales.h"
#include "observe/run_tasks.h"

namespace rapt {
namespace {

/// Adds the weights of each row to the sums of the keys that it sees.
class Receiving final : public StripObserver {
 public:
  Receiving(const Problem& problem, const RowScales& scales, std::vector<double>& sums)
      : problem_(problem),
        order_(problem),
        scales_(scales),
        kernels_(attention_kernels(active_isa())),
        sums_(sums) {}

  std::int64_t columns() const override { return 16; }

  void observe(const ObservedStrip& strip) const noexcept override {
    const AttentionTile& tile = strip.tile;
    float line[kChunkKeys];
    std::int64_t i = order_.query(strip.row), g = order_.head_of_group(strip.row);
    for (int r = 0; r < tile.rows; ++r, order_.advance(i, g)) {
      tile.m[r] = -std::numeric_limits<float>::infinity();  // nothing of a row is left to merge
      tile.l[r] = 0.0f;
      const std::int64_t h = strip.kv_head * problem_.group() + g;
      const std::size_t at = scales_.at(strip.sequence, h, i);
      kernels_.weights(tile.s + r * kScoreStride, tile.seen[r], scales_.m[at], scales_.l[at], line);
      add(tile, r, line,
          sums_.data() + (strip.sequence * problem_.q_heads + h) * problem_.kv_tokens +
              problem_.kv_range(strip.sequence).begin + strip.chunk * kChunkKeys);
    }
    std::fill_n(tile.acc, tile.rows * columns(), 0.0f);
  }

  void merge(std::int64_t, const StateRows*, int, const StateRows&) const noexcept override {}
  void finish(std::int64_t, std::int64_t, std::int64_t, float, float,
              const float*) const noexcept override {}

 private:
  static void add(const AttentionTile& tile, int r, const float* weights, double* sums) {
    for (std::uint32_t left = tile.seen[r]; left != 0; left &= left - 1) {
      const int group = std::countr_zero(left), first = group * kGroupKeys;
      if ((tile.whole[r] >> group & 1) != 0) {
        for (int j = first; j < first + kGroupKeys; ++j) sums[j] += weights[j];
        continue;
      }
      for (std::uint32_t keys = tile.visible[r].group(group); keys != 0; keys &= keys - 1) {
        const int j = first + std::countr_zero(keys);
        sums[j] += weights[j];
      }
    }
  }

  const Problem& problem_;
  const RowOrder order_;
  const RowScales& scales_;
  const AttentionKernels& kernels_;
  std::vector<double>& sums_;
};

/// Every chunk of keys on its own, all rows of a kv head ascending.
void run_columns(const PlanDetail& plan, const Inputs& inputs, Scratch& scratch) {
  const PlanDetail detail = without_waves(plan);
  const KvReader reader(detail, inputs, nullptr, nullptr, 0);
  const Problem& problem = detail.problem;
  const std::int64_t chunks = chunks_of(detail.slots);
  const std::int64_t tasks = problem.batch * problem.kv_heads * chunks;
  run_tasks(detail, tasks, scratch, [&](BlockRunner& runner, int, std::int64_t task) {
    const std::int64_t chunk = task % chunks, head = task / chunks;
    WorkItem item{head / problem.kv_heads, head % problem.kv_heads, 0, 0, chunk, chunk + 1, 0};
    for (; item.row_begin < detail.rows(); item.row_begin = item.row_end) {
      item.row_end = std::min(detail.rows(), item.row_begin + detail.block_rows);
      const Range seen =
          detail.tiles.chunks(item.sequence, item.kv_head, item.row_begin, item.row_end);
      if (chunk < seen.begin || chunk >= seen.end) continue;
      runner.attend(item, inputs, reader, [](std::int64_t, int, const StateRows&) {});
    }
  });
}

}  // namespace

std::vector<double> attention_received(const Problem& problem, const Inputs& inputs,
                                       const Threads& threads, Scratch& scratch) {
  problem.validate();
  return with_memory("attention_received", [&] {
    std::vector<double> sums(
        static_cast<std::size_t>(problem.batch * problem.q_heads * problem.kv_tokens));
    const RowScales scales = row_scales(problem, inputs, threads, scratch);
    const ObservedInputs observed(problem, inputs);
    const Receiving receiving(observed.problem, scales, sums);
    const Plan plan = observed.plan(threads, receiving);
    run_columns(plan.detail(), observed.inputs, scratch);
    return sums;
  });
}

}  // namespace rapt
