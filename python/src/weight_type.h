#pragma once

#include <string>

#include "error.h"
#include "rapt/weight.h"

namespace rapt::python {

/// What "float32", "bfloat16", "float16", "int8" and "native_bfloat16" name.
inline WeightType weight_type_of(const std::string& name, const char* where) {
  constexpr const char* kNames[kWeightTypes] = {"float32", "bfloat16", "float16", "int8",
                                                "native_bfloat16"};
  for (int n = 0; n < kWeightTypes; ++n)
    if (name == kNames[n]) return static_cast<WeightType>(n);
  refuse(where, "float32, bfloat16, float16, int8 or native_bfloat16", name);
}

}  // namespace rapt::python
