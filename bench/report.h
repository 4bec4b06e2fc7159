#pragma once

#include <string>

#include "bench/machine.h"
#include "bench/measure.h"

namespace rapt::bench {

/// One JSON object: machine, ceilings {fma_gflops, read_gbps, threads}, cases [{name, threads,
/// seconds, share, limit}]. A share is a fraction of its ceiling.
std::string to_json(const Machine& machine, const Measurements& measurements);

/// The same for people.
std::string to_table(const Machine& machine, const Measurements& measurements);

}  // namespace rapt::bench
