#pragma once

#include <nanobind/nanobind.h>

namespace rapt::python {

/// attention(q, k, v, ...).
void bind_attention(nanobind::module_& m);

}  // namespace rapt::python
