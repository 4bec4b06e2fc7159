#pragma once

#include <cstdint>
#include <ostream>
#include <sstream>
#include <string>

#include "rapt/error.h"
#include "rapt/tensor.h"

namespace rapt {

/// "[1, 2, 3, 4]"
inline std::ostream& operator<<(std::ostream& out, const Dims& dims) {
  return out << "[" << dims[0] << ", " << dims[1] << ", " << dims[2] << ", " << dims[3] << "]";
}

inline std::string to_string(const Dims& dims) {
  std::ostringstream text;
  text << dims;
  return text.str();
}

/// Throws Error{code, "where: expected <expected>, got <got>"} unless `ok`. Only then is anything
/// written: a check that holds allocates nothing of its own.
template <class Where, class Expected, class Got>
void require(bool ok, ErrorCode code, const Where& where, const Expected& expected,
             const Got& got) {
  if (ok) return;
  std::ostringstream message;
  message << where << ": expected " << expected << ", got " << got;
  throw Error(code, message.str());
}

/// Checks an extent: beyond 2^40 no memory holds it, and sums of extents stay far from overflow.
/// @throws Error{kBadArgument} unless low <= value <= 2^40.
inline void require_extent(std::int64_t value, std::int64_t low, const char* where) {
  require(value >= low && value <= std::int64_t{1} << 40, ErrorCode::kBadArgument, where,
          std::to_string(low) + " to 2^40", value);
}

}  // namespace rapt
