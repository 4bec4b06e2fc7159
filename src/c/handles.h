#pragma once

#include "c/guard.h"
#include "rapt/attention.h"
#include "rapt/rotary.h"

// What the opaque types of rapt.h are.

struct rapt_threads : rapt::c::Handle<rapt_threads, rapt::Threads> {
  static constexpr char kName[] = "threads";
  using Handle::Handle;
};

struct rapt_scratch : rapt::c::Handle<rapt_scratch, rapt::Scratch> {
  static constexpr char kName[] = "a scratch";
  using Handle::Handle;
};

struct rapt_mask : rapt::c::Handle<rapt_mask, rapt::Mask> {
  static constexpr char kName[] = "a mask";
  using Handle::Handle;
};

struct rapt_plan : rapt::c::Handle<rapt_plan, rapt::Plan> {
  static constexpr char kName[] = "a plan";
  using Handle::Handle;
};

struct rapt_kv_cache : rapt::c::Handle<rapt_kv_cache, rapt::DenseKvCache> {
  static constexpr char kName[] = "a cache";
  using Handle::Handle;
};

struct rapt_state : rapt::c::Handle<rapt_state, rapt::State> {
  static constexpr char kName[] = "a state";
  using Handle::Handle;
};

struct rapt_rotary_table : rapt::c::Handle<rapt_rotary_table, rapt::RotaryTable> {
  static constexpr char kName[] = "a rotary table";
  using Handle::Handle;
};
