#pragma once

#include <nanobind/nanobind.h>

namespace rapt::python {

void bind_head_roles(nanobind::module_& m);

}  // namespace rapt::python
