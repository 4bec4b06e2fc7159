#pragma once

#ifdef RAPT_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>
#endif

namespace rapt {

/// For the thread sanitizer, which does not see how oneTBB synchronises, as that is built without
/// it: what came before a `give` is there after a `take` of the same address.
#ifdef RAPT_THREAD_SANITIZER
inline void give(void* address) { __tsan_release(address); }
inline void take(void* address) { __tsan_acquire(address); }
#else
inline void give(void*) {}
inline void take(void*) {}
#endif

}  // namespace rapt
