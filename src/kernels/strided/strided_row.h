#pragma once

#include <cstdint>

namespace rapt {

/// `T` elements, `stride` apart.
template <class T>
struct StridedRow {
  T* data;
  std::int64_t stride;
};

}  // namespace rapt
