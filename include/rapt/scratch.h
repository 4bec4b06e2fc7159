#pragma once

#include <cstddef>
#include <memory>

namespace rapt {

/// Working memory that the caller keeps between runs. Grows on demand, never shrinks, not
/// thread-safe: one for each run in flight.
class Scratch {
 public:
  /// At least `bytes` of memory, aligned to 64 bytes or, when large, to huge pages. What it holds
  /// is unspecified.
  /// @throws Error{kOutOfMemory}.
  std::byte* reserve(std::size_t bytes);

  std::size_t size_bytes() const { return size_bytes_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept;
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::size_t size_bytes_ = 0;
};

}  // namespace rapt
