#include "base/memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "rapt/error.h"
#include "rapt/scratch.h"

namespace rapt {

void* allocate_aligned(std::size_t bytes) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20, kCacheLine = 64;
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kCacheLine;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* memory = rounded < bytes ? nullptr : std::aligned_alloc(alignment, rounded);
  if (memory == nullptr)
    throw Error(ErrorCode::kOutOfMemory,
                "allocation: expected " + std::to_string(bytes) + " bytes of memory, got none");
  if (alignment == kHugePage) madvise(memory, rounded, MADV_HUGEPAGE);
  std::memset(memory, 0, rounded);
  return memory;
}

void free_aligned(void* memory) noexcept { std::free(memory); }

std::byte* Scratch::reserve(std::size_t bytes) {
  if (bytes > size_bytes_) {
    memory_.reset();
    size_bytes_ = 0;
    memory_.reset(static_cast<std::byte*>(allocate_aligned(bytes)));
    size_bytes_ = bytes;
  }
  return memory_.get();
}

void Scratch::Free::operator()(std::byte* memory) const noexcept { free_aligned(memory); }

}  // namespace rapt
