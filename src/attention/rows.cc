#include <functional>
#include <limits>

#include "attention/block.h"
#include "attention/views.h"

namespace rapt {

void attention_rows(const Plan& plan, const Inputs& inputs, Scratch& scratch,
                    const std::vector<std::int64_t>& rows, const MutableTensor& out, RowKind kind) {
  const Problem& problem = plan.problem();
  for (std::int64_t i : rows)
    require(i >= 0 && i < problem.q_tokens, ErrorCode::kBadArgument, "attention_rows rows",
            "0 to " + std::to_string(problem.q_tokens - 1), i);
  check_whole(plan.detail());
  check_inputs(plan.detail(), inputs);
  const auto count = static_cast<std::int64_t>(rows.size());
  require_view(out, {problem.batch, problem.q_heads, count, problem.kv_tokens},
               "attention_rows out");

  // One query at a time, as a problem of one block that reads chunks as it comes to them.
  PlanDetail detail = without_waves(plan.detail());
  detail.workers = 1;
  detail.block_rows = 1;
  Carver measure;
  RunMemory(detail, measure);
  std::byte* memory = scratch.reserve(measure.bytes());
  Carver carver(memory);
  BlockRunner runner = RunMemory(detail, carver).runner(detail, memory, 0);
  const KvReader reader(detail, inputs, nullptr, nullptr, 0);

  const float hidden = kind == RowKind::kWeights ? 0.0f : -std::numeric_limits<float>::infinity();
  constexpr float unit = 0x1.62e43p-1f;  // ln 2: scores are kept in units of log2
  const auto work = [&](int) {
    std::vector<float> line(static_cast<std::size_t>(kChunkKeys));
    for (std::int64_t b = 0; b < problem.batch; ++b)
      for (std::int64_t h = 0; h < problem.q_heads; ++h)
        for (std::int64_t n = 0; n < count; ++n) {
          const std::int64_t row = detail.row_of({rows[static_cast<std::size_t>(n)], h});
          const Range keys = problem.kv_range(b);
          for (std::int64_t j = 0; j < problem.kv_tokens; ++j) out.at(b, h, n, j) = hidden;
          const WorkItem item{b, h / problem.group(), row, row + 1, 0, chunks_of(keys.size()), 0};
          runner.walk_row(item, inputs, reader, line.data(),
                          [&](std::int64_t slot, float score, float weight) {
                            out.at(b, h, n, keys.begin + slot) =
                                kind == RowKind::kWeights ? weight : score * unit;
                          });
        }
  };
  detail.threads.run(1, std::ref(work));
}

}  // namespace rapt
