#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include "rapt/error.h"

namespace rapt::python {

/// Throws the Error "where: expected ..., got ...".
[[noreturn]] inline void refuse(const std::string& where, const std::string& expected,
                                const std::string& got, ErrorCode code = ErrorCode::kBadArgument) {
  throw Error(code, where + ": expected " + expected + ", got " + got);
}

/// rapt.Error, a ValueError that knows its code.
void bind_error(nanobind::module_& m);

}  // namespace rapt::python
