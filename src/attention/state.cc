#include "rapt/state.h"

#include <atomic>
#include <cmath>
#include <functional>
#include <limits>

#include "attention/block.h"
#include "attention/subtrees.h"
#include "attention/views.h"
#include "base/elementary.h"
#include "base/float_env.h"

namespace rapt {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::int64_t rows_of(const Dims& o) { return o[0] * o[1] * o[2]; }
std::int64_t stride_of(const Dims& o) { return round_up(o[3], 16); }

/// A node that has seen nothing.
State::Node identity(int level, std::int64_t index, const Dims& o) {
  State::Node node{level, index, {}, {}, {}};
  node.m.assign(static_cast<std::size_t>(rows_of(o)), -kInfinity);
  node.l.assign(static_cast<std::size_t>(rows_of(o)), 0.0f);
  node.acc.assign(static_cast<std::size_t>(rows_of(o) * stride_of(o)), 0.0f);
  return node;
}

StateRows rows_at(State::Node& node, std::int64_t row, std::int64_t stride) {
  return {node.m.data() + row, node.l.data() + row, node.acc.data() + row * stride};
}

/// earlier := the parent of two siblings.
void join(State::Node& earlier, State::Node& later, const Dims& o) {
  const std::int64_t stride = stride_of(o);
  const StateRows side = rows_at(later, 0, stride);
  const CanonicalFloatEnv env;
  attention_kernels(active_isa()).merge(rows_of(o), stride, &side, 1, rows_at(earlier, 0, stride));
  earlier.level += 1;
  earlier.index /= 2;
}

bool are_siblings(const State::Node& a, const State::Node& b) {
  return a.level == b.level && a.index % 2 == 0 && b.index == a.index + 1;
}

void check_chunks(ChunkRange chunks, const char* where) {
  if (0 <= chunks.begin && chunks.begin <= chunks.end) return;
  require(false, ErrorCode::kBadArgument, where, "0 <= begin <= end",
          "[" + std::to_string(chunks.begin) + ", " + std::to_string(chunks.end) + ")");
}

void check_state(const State& state, const char* where) {
  check_chunks(state.chunks, where);
  const Dims& o = state.o_extents;
  require(state.sinks.empty() || std::ssize(state.sinks) == o[2], ErrorCode::kBadShape, where,
          "a sink for each of " + std::to_string(o[2]) + " heads, or none", state.sinks.size());
  const auto rows = static_cast<std::size_t>(rows_of(o));
  bool matches = true;
  std::size_t n = 0;
  for_each_subtree(state.chunks, [&](int level, std::int64_t index) {
    matches = matches && n < state.nodes.size() && state.nodes[n].level == level &&
              state.nodes[n].index == index;
    ++n;
  });
  require(matches && n == state.nodes.size(), ErrorCode::kBadShape, where,
          "the maximal aligned subtrees of its chunks", "other nodes");
  for (const State::Node& node : state.nodes)
    require(node.m.size() == rows && node.l.size() == rows &&
                node.acc.size() == rows * static_cast<std::size_t>(stride_of(o)),
            ErrorCode::kBadShape, where, "nodes of " + std::to_string(rows) + " rows",
            node.m.size());
}

/// The state of chunks of which none is seen yet.
State identity(const PlanDetail& plan, ChunkRange chunks) {
  const Problem& p = plan.problem;
  State state;
  state.o_extents = {p.batch, p.q_tokens, p.q_heads, p.value_dim()};
  state.chunks = chunks;
  state.sinks = plan.sinks;
  for_each_subtree(chunks, [&](int level, std::int64_t index) {
    state.nodes.push_back(identity(level, index, state.o_extents));
  });
  return state;
}

/// Computes a node for the rows of one split.
void attend(const PlanDetail& plan, const Split& split, const Inputs& inputs, BlockRunner& runner,
            State::Node& node) {
  const Problem& problem = plan.problem;
  WorkItem item = plan.items[static_cast<std::size_t>(split.first_item)];
  const std::int64_t seen_end = chunks_of(problem.kv_range(item.sequence).size());
  item.chunk_begin = std::min(node.index << node.level, seen_end);
  item.chunk_end = std::min((node.index + 1) << node.level, seen_end);
  const KvReader reader(plan, inputs, nullptr, nullptr, 0);
  runner.attend(item, inputs, reader, [&](std::int64_t row, int rows, const StateRows& part) {
    for (int r = 0; r < rows; ++r) {
      const auto [i, h] = plan.query_of(item.kv_head, row + r);
      const std::int64_t at = (item.sequence * problem.q_tokens + i) * problem.q_heads + h;
      const StateRows from{part.m + r, part.l + r, part.acc + r * plan.v_stride};
      runner.copy(1, from, rows_at(node, at, plan.v_stride));
    }
  });
}

}  // namespace

State run_partial(const Plan& plan, const Inputs& inputs, Scratch& scratch, ChunkRange chunks) {
  check_chunks(chunks, "run_partial chunks");
  check_whole(plan.detail());
  check_inputs(plan.detail(), inputs);
  const PlanDetail detail = without_waves(plan.detail());
  Carver measure;
  RunMemory(detail, measure);
  std::byte* memory = scratch.reserve(measure.bytes());
  Carver carver(memory);
  const RunMemory areas(detail, carver);

  State state = identity(detail, chunks);
  const std::int64_t blocks = static_cast<std::int64_t>(detail.splits.size());
  const std::int64_t tasks = blocks * static_cast<std::int64_t>(state.nodes.size());
  std::atomic<std::int64_t> ticket = 0;
  const auto work = [&](int worker) {
    BlockRunner runner = areas.runner(detail, memory, worker);
    for (std::int64_t task; (task = ticket.fetch_add(1)) < tasks;)
      attend(detail, detail.splits[static_cast<std::size_t>(task % blocks)], inputs, runner,
             state.nodes[static_cast<std::size_t>(task / blocks)]);
  };
  detail.threads.run(detail.workers, std::ref(work));
  return state;
}

State merge(const State& a, const State& b) {
  require(a.o_extents == b.o_extents, ErrorCode::kBadShape, "merge b", a.o_extents, b.o_extents);
  require(a.sinks == b.sinks, ErrorCode::kBadArgument, "merge b.sinks", "those of a", "others");
  require(a.chunks.end == b.chunks.begin, ErrorCode::kBadArgument, "merge b.chunks.begin",
          std::to_string(a.chunks.end) + ", where a ends", b.chunks.begin);
  check_state(a, "merge a");
  check_state(b, "merge b");
  State out = a;
  out.chunks.end = b.chunks.end;
  for (const State::Node& node : b.nodes) {
    out.nodes.push_back(node);
    while (out.nodes.size() >= 2 &&
           are_siblings(out.nodes[out.nodes.size() - 2], out.nodes.back())) {
      join(out.nodes[out.nodes.size() - 2], out.nodes.back(), out.o_extents);
      out.nodes.pop_back();
    }
  }
  return out;
}

void finish(const State& state, const Result& result) {
  const Dims& o = state.o_extents;
  check_state(state, "finish state");
  check_result(result, o);
  std::vector<State::Node> nodes = state.nodes;
  if (nodes.empty()) nodes.push_back(identity(0, 0, o));
  // Up the tree level by level: a node whose sibling has seen nothing is its own parent.
  for (int level = 0; nodes.size() > 1; ++level)
    for (std::size_t n = 0; n < nodes.size(); ++n) {
      if (nodes[n].level != level) continue;
      if (n + 1 < nodes.size() && are_siblings(nodes[n], nodes[n + 1])) {
        join(nodes[n], nodes[n + 1], o);
        nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(n) + 1);
      } else {
        nodes[n].level += 1;
        nodes[n].index /= 2;
      }
    }
  const std::int64_t rows = rows_of(o), stride = stride_of(o);
  std::vector<float> lse(static_cast<std::size_t>(rows));
  const CanonicalFloatEnv env;
  const AttentionKernels& kernels = attention_kernels(active_isa());
  const StateRows root = rows_at(nodes.front(), 0, stride);
  if (!state.sinks.empty()) {
    std::vector<float> sinks;
    for (std::int64_t row = 0; row < rows; ++row)
      sinks.push_back(state.sinks[static_cast<std::size_t>(row % o[2])]);
    kernels.join_sinks(rows, stride, sinks.data(), root);
  }
  kernels.finish(rows, stride, root, lse.data());
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto at = static_cast<std::size_t>(row);
    write_row(result, row / (o[1] * o[2]), row / o[2] % o[1], row % o[2],
              nodes.front().acc.data() + row * stride, lse[at], nodes.front().m[at],
              nodes.front().l[at]);
  }
}

void merge_finished(const Result& a, const Result& b, const Result& out) {
  const Dims o = a.o.extents;
  for (const Result* each : {&a, &b, &out}) {
    check_result(*each, o);
    require(each->lse.data != nullptr, ErrorCode::kBadArgument, "merge_finished",
            "results with lse", "a null pointer");
  }
  const CanonicalFloatEnv env;
  for (std::int64_t n = 0; n < o[0]; ++n)
    for (std::int64_t i = 0; i < o[1]; ++i)
      for (std::int64_t h = 0; h < o[2]; ++h) {
        const double lse_a = a.lse.at(0, n, h, i), lse_b = b.lse.at(0, n, h, i);
        const double top = lse_a > lse_b ? lse_a : lse_b;
        // Equal infinities differ by NaN, and a side that saw nothing has no weight.
        const double weight_a = lse_a == top ? 1.0 : elementary::exp(lse_a - top);
        const double weight_b = lse_b == top ? 1.0 : elementary::exp(lse_b - top);
        const double sum = weight_a + weight_b;
        out.lse.at(0, n, h, i) = static_cast<float>(top + elementary::log(sum));
        for (std::int64_t e = 0; e < o[3]; ++e)
          out.o.set(n, i, h, e,
                    static_cast<float>(
                        (weight_a * a.o.at(n, i, h, e) + weight_b * b.o.at(n, i, h, e)) / sum));
      }
}

}  // namespace rapt
