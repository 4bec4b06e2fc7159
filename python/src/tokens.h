#pragma once

#include <cstdint>
#include <vector>

#include "array.h"
#include "error.h"

namespace rapt::python {

/// Token ids, as `ints_of` takes them.
inline std::vector<std::int32_t> tokens_of(nb::handle object, const char* where) {
  std::vector<std::int32_t> tokens;
  for (const std::int64_t token : ints_of(object, where)) {
    if (token != static_cast<std::int32_t>(token))
      refuse(where, "numbers of 32 bits", std::to_string(token));
    tokens.push_back(static_cast<std::int32_t>(token));
  }
  return tokens;
}

}  // namespace rapt::python
