#include "base/fork.h"

#include <pthread.h>

#include <atomic>

namespace rapt {

namespace {

std::atomic<bool> forked = false;

}  // namespace

void watch_forks() {
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });
  static_cast<void>(registered);
}

bool is_forked() noexcept { return forked.load(std::memory_order_relaxed); }

}  // namespace rapt
