#pragma once

#include "rapt/dtype.h"

namespace rapt {

/// Calls f with a value of the C++ type of `dtype`, to dispatch on it.
template <class F>
decltype(auto) with_type(DType dtype, F&& f) {
  if (dtype == DType::kBF16) return f(BF16{});
  if (dtype == DType::kF16) return f(F16{});
  return f(0.0f);
}

}  // namespace rapt
