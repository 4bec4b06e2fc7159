#pragma once

#include <nanobind/nanobind.h>

#include "rapt/mask.h"

namespace rapt::python {

/// A `Mask` argument; None is `Mask::none()`.
/// @throws Error{kBadArgument} starting with `where` for anything else.
const Mask& mask_of(nanobind::handle object, const char* where);

void bind_mask(nanobind::module_& m);

}  // namespace rapt::python
