#pragma once

#include <vector>

#include "rapt/attention.h"

namespace rapt {

/// Attention that every key receives, received_j = sum over rows i of A_ij: by sequence, query head and
/// key token, [B, Hq, Tk]. A key that is padding receives 0. Means of columns, and shares of keys that
/// nothing attends to, follow from it.
///
/// Two passes over the scores: the rows' log-sum-exp first. Each sum is f64, by ascending query, so its
/// bits depend on no schedule; a row with a NaN score makes the keys that it sees NaN, no other.
///
/// @param  inputs as run's; v may be left empty.
/// @throws Error as make_plan and run.
/// @error  1e-5 max(1, |x|) of the f64 matrix.
/// @cost   4 visible_pairs() D flops; O(B Hq (Tq + Tk)) memory.
std::vector<double> attention_received(const Problem& problem, const Inputs& inputs,
                                       const Threads& threads, Scratch& scratch);

}  // namespace rapt
