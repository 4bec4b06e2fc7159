#pragma once

#include <nanobind/nanobind.h>

#include <optional>

#include "array.h"
#include "rapt/attention.h"

namespace rapt::python {

/// Keyword arguments that every form of attention takes besides its tensors, as they were given.
struct Options {
  nb::handle mask;
  std::optional<double> scale;
  std::optional<double> softcap;
  nb::handle sinks;
  nb::handle alibi;
  nb::handle relative_bias;
  nb::handle q_ranges, kv_ranges;
  nb::handle q_positions, kv_positions;
};

/// The problem that q [B, Tq, Hq, D], k [B, Tk, Hkv, D] and v [B, Tk, Hkv, Dv] pose, o as q.
/// @throws Error naming "attention.<argument>".
Problem problem_of(const AnyConstTensor& q, const AnyConstTensor& k, const AnyConstTensor& v,
                   const Options& options);

/// The mask and modifiers alone.
void set_options(Problem& problem, const Options& options);

}  // namespace rapt::python
