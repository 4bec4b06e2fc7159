#pragma once

#include <nanobind/nanobind.h>

#include <optional>
#include <string_view>

#include "array.h"
#include "rapt/attention.h"

namespace rapt::python {

/// What `arithmetic` is where nothing is said.
inline constexpr char kF32Arithmetic[] = "float32";

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
  std::string_view arithmetic = kF32Arithmetic;

  /// Sets what is given; the rest of `problem` stays as it is.
  /// @throws Error naming "attention.<argument>".
  void set(Problem& problem) const;
};

/// How signatures write these, and their documentation.
#define RAPT_OPTIONS                                                                    \
  "mask: Mask | None = None, scale: float | None = None, softcap: float | None = None," \
  " sinks: Floats | None = None, alibi: Floats | None = None,"                          \
  " relative_bias: RelativeBias | None = None, q_ranges: IntLists | None = None,"       \
  " kv_ranges: IntLists | None = None, q_positions: Ints | IntLists | None = None,"     \
  " kv_positions: Ints | IntLists | None = None, arithmetic: str = 'float32'"

/// The problem that inputs pose, o of the type `o`.
Problem problem_of(const Inputs& inputs, DType o, const Options& options);

/// A (begin, end) for each sequence; None gives none.
std::vector<Range> ranges_of(nb::handle object, const char* where);

/// "float32", "bfloat16" or "float16", and what they name.
const char* name_of(DType dtype);
DType dtype_of(const std::string& name, const char* where);

/// The same of a cache's types: "int8" and "fp8_e4m3" too.
DType cache_type_of(const std::string& name, const char* where);

/// What "float32" and "native_bfloat16" name.
Arithmetic arithmetic_of(std::string_view name, const char* where);

}  // namespace rapt::python
