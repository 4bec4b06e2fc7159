#pragma once

#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>

#include "rapt/error.h"

namespace rapt {

/// Memory aligned to 64 bytes; from 2 MiB on, aligned to and advised for huge pages. Zeroed.
/// @throws Error{kOutOfMemory}.
void* allocate_aligned(std::size_t bytes);

void free_aligned(void* memory) noexcept;

/// f(); a container in it that does not get its memory is Error{kOutOfMemory}, beginning with
/// `where`, and not an exception of the standard library.
template <class F>
decltype(auto) with_memory(const char* where, F&& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
  } catch (const std::length_error&) {
  }
  throw Error(ErrorCode::kOutOfMemory,
              std::string(where) + ": expected enough memory, got too little");
}

}  // namespace rapt
