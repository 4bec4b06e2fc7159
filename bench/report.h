#pragma once

#include <string>

#include "bench/machine.h"
#include "bench/measure.h"

namespace rapt::bench {

/// One JSON object:
///
///     machine
///     ceilings [{threads, fma_gflops, exp_gelements, read_gbps}]   on 1, 2, .. threads
///     cases    [{name, threads, flops, bytes, seconds, share, limit, clock, scaling}]
///
/// Flops and bytes are the useful work of one call, a share is a fraction of its ceiling, clock is
/// the FMA rate just after the case over its ceiling, scaling is null on one thread.
std::string to_json(const Machine& machine, const Measurements& measurements);

/// The same for people.
std::string to_table(const Machine& machine, const Measurements& measurements);

}  // namespace rapt::bench
