#pragma once

#include <sstream>
#include <string>

#include "rapt/error.h"

namespace rapt {

/// Throws Error{code, "where: expected <expected>, got <got>"} unless `ok`.
template <class Got>
void require(bool ok, ErrorCode code, const char* where, const std::string& expected,
             const Got& got) {
  if (ok) return;
  std::ostringstream message;
  message << where << ": expected " << expected << ", got " << got;
  throw Error(code, message.str());
}

}  // namespace rapt
