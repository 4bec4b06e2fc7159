#pragma once

#include "c/guard.h"
#include "rapt/attention.h"
#include "rapt/rotary.h"

// What the opaque types of rapt.h are.

struct rapt_threads : rapt::c::Handle<rapt::Threads, "threads"> {};
struct rapt_scratch : rapt::c::Handle<rapt::Scratch, "a scratch"> {};
struct rapt_mask : rapt::c::Handle<rapt::Mask, "a mask"> {};
struct rapt_plan : rapt::c::Handle<rapt::Plan, "a plan"> {};
struct rapt_kv_cache : rapt::c::Handle<rapt::DenseKvCache, "a cache"> {};
struct rapt_state : rapt::c::Handle<rapt::State, "a state"> {};
struct rapt_rotary_table : rapt::c::Handle<rapt::RotaryTable, "a rotary table"> {};
