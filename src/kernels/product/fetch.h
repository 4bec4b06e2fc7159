#pragma once

#include <cstdint>

namespace rapt {

/// The cache to which a product fetches what it reads from memory; none: the hardware does it.
enum class FetchTo { kNone, kL1, kL2 };

/// A line is fetched so many bytes ahead of its use.
struct Fetch {
  FetchTo to;
  std::int64_t ahead_bytes;
};

inline constexpr Fetch kNoFetch{FetchTo::kNone, 0};

}  // namespace rapt
