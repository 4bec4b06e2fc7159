#pragma once

#include <nanobind/nanobind.h>

#include "rapt/threads.h"

namespace rapt::python {

/// The threads of everything that Python runs. Read with the GIL held.
const Threads& threads();

void bind_threads(nanobind::module_& m);

}  // namespace rapt::python
