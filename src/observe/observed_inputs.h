#pragma once

#include "attention/views.h"

namespace rapt {

/// A problem as it is looked at: its keys alone, in f32 arithmetic.
struct ObservedInputs {
  ObservedInputs(const Problem& of, const Inputs& in) : problem(of), inputs(in) {
    problem.arithmetic = Arithmetic::kF32;
    inputs.v = {};
    if (inputs.cache == nullptr) problem.storage.v = problem.storage.k;
  }

  /// @throws Error as make_plan and run.
  Plan plan(const Threads& threads, const StripObserver& observer) const {
    const KvSource source =
        inputs.cache == nullptr ? KvSource::kTensors : source_of(*inputs.cache, problem.kv_tokens);
    Plan plan = PlanDetail::make_part(problem, threads, source, PlanRole::kWhole, 0, &observer);
    check_inputs(plan.detail(), inputs);
    return plan;
  }

  Problem problem;
  Inputs inputs;
};

}  // namespace rapt
