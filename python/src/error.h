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

/// The T that `object` is. Throws Error if it is none.
template <class T>
T& cast_to(nanobind::handle object, const char* where, const char* expected) {
  T* value = nullptr;
  if (!nanobind::try_cast(object, value) || value == nullptr)
    refuse(where, expected, nanobind::type_name(object.type()).c_str());
  return *value;
}

}  // namespace rapt::python
