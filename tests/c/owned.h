#pragma once

// Handles of the C ABI that destroy themselves.

#include <utility>

#include "rapt/rapt.h"

namespace rapt::test {

template <class H, void (*destroy)(H*)>
struct Owned {
  H* handle = nullptr;
  Owned() = default;
  Owned(Owned&& other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
  ~Owned() { destroy(handle); }
  H** operator&() { return &handle; }
  operator H*() const { return handle; }
};
using CMask = Owned<rapt_mask, rapt_mask_destroy>;
using CPlan = Owned<rapt_plan, rapt_plan_destroy>;
using CScratch = Owned<rapt_scratch, rapt_scratch_destroy>;
using CThreads = Owned<rapt_threads, rapt_threads_destroy>;
using CCache = Owned<rapt_kv_cache, rapt_kv_cache_destroy>;
using CState = Owned<rapt_state, rapt_state_destroy>;
using CTable = Owned<rapt_rotary_table, rapt_rotary_table_destroy>;

}  // namespace rapt::test
