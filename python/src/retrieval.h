#pragma once

#include <nanobind/nanobind.h>

namespace rapt::python {

void bind_retrieval(nanobind::module_& m);

}  // namespace rapt::python
