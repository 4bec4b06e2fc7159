#pragma once

#include <cstdint>
#include <string>

#include "base/check.h"

namespace rapt {

/// @throws Error{kBadArgument} unless 0 <= index < count.
inline void require_index(std::int64_t index, std::int64_t count, const char* where) {
  require(index >= 0 && index < count, ErrorCode::kBadArgument, where,
          "0 to " + std::to_string(count - 1), index);
}

}  // namespace rapt
