#pragma once

#include <functional>
#include <vector>

#include "bench/cases.h"
#include "rapt/threads.h"

namespace rapt::bench {

/// Bytes of memory that measuring `c` takes, the read ceiling's included.
double memory_bytes(const Case& c);

/// @throws Error{kOutOfMemory} if the machine has not that much free: asking first is better than
///         being killed.
void require_memory(const Case& c);

/// Makes a case ready: for each of `threads` a function that does one call on it; the operands are
/// theirs together. Those that are rotated are the next copy's in every call, so that no cache level
/// serves them.
std::vector<std::function<void()>> prepare(const Case& c, const std::vector<Threads>& threads);

}  // namespace rapt::bench
