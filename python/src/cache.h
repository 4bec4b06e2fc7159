#pragma once

#include <nanobind/nanobind.h>

namespace rapt::python {

void bind_cache(nanobind::module_& m);

}  // namespace rapt::python
