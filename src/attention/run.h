#pragma once

#include "attention/block.h"

namespace rapt {

/// `run` with checked views, in `memory` of plan.scratch_bytes. A kRest plan goes on from `prefix`;
/// a kPrefix plan writes it, and no result.
void run_in(const PlanDetail& plan, const Inputs& inputs, std::byte* memory, const Result& result,
            const PrefixNodes& prefix = {});

}  // namespace rapt
