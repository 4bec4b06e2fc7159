#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "attention/block.h"

namespace rapt {

/// Calls work(runner, worker, task) for every task below `tasks`: the plan's workers take the next
/// as they come.
template <class Work>
void run_tasks(const PlanDetail& plan, std::int64_t tasks, Scratch& scratch, Work&& work) {
  Carver measure;
  RunMemory(plan, measure);
  std::byte* memory = scratch.reserve(measure.bytes());
  Carver carver(memory);
  const RunMemory areas(plan, carver);
  std::atomic<std::int64_t> ticket = 0;
  const auto take = [&](int worker) {
    BlockRunner runner = areas.runner(plan, memory, worker);
    for (std::int64_t task; (task = ticket.fetch_add(1)) < tasks;) work(runner, worker, task);
  };
  plan.threads.run(plan.workers, std::ref(take));
}

}  // namespace rapt
