#pragma once

#include <span>

#include "base/isa.h"

namespace rapt {

/// Floats that an operation may read behind each argument and write to `out`.
inline constexpr int kOperationFloats = 128;

/// One operation of the 16-lane contract between arrays; integers pass as bits, truth as 1 or 0.
struct SimdOperation {
  const char* name;
  void (*run)(const float* a, const float* b, const float* c, float* out) noexcept;
  bool arithmetic = false;  ///< which NaN it gives is not said
};

struct SimdOperations {
  Isa isa;
  std::span<const SimdOperation> operations;  ///< the same of every ISA
};

}  // namespace rapt
