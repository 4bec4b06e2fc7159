#pragma once

#include <nanobind/nanobind.h>

#include "rapt/paged_kv_cache.h"
#include "use.h"

namespace rapt::python {

/// A cache in pages, and the calls that use it.
struct PyPagedCache {
  PagedKvCache cache;
  Use use{};
};

/// One layer of a cache, which Python keeps alive with it.
struct PyTiles {
  PyPagedCache& cache;
  const KvTiles& tiles;
};

void bind_paged_cache(nanobind::module_& m);

}  // namespace rapt::python
