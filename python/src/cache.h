#pragma once

#include <nanobind/nanobind.h>

#include "rapt/kv_cache.h"
#include "use.h"

namespace rapt::python {

/// A cache, and the calls that use it.
struct PyCache {
  DenseKvCache cache;
  Use use{};
};

void bind_cache(nanobind::module_& m);

}  // namespace rapt::python
