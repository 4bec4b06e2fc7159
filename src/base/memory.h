#pragma once

#include <cstddef>

namespace rapt {

/// Memory aligned to 64 bytes; from 2 MiB on, aligned to and advised for huge pages. Zeroed.
/// @throws Error{kOutOfMemory}.
void* allocate_aligned(std::size_t bytes);

void free_aligned(void* memory) noexcept;

}  // namespace rapt
