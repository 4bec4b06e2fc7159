#pragma once

#include <string>

namespace rapt::bench {

/// What the measurements were taken on. Sizes that the system does not tell are 0.
struct Machine {
  std::string cpu;
  int cores = 0;    ///< hardware threads that this process may use
  std::string isa;  ///< of the kernels
  long l1d_bytes = 0, l2_bytes = 0, l3_bytes = 0;
  double memory_bytes = 0;
  std::string compiler;
  std::string version;  ///< of rapt
};

Machine this_machine();

/// Memory that the system can give without taking it from somebody; infinite if unknown.
double available_bytes();

}  // namespace rapt::bench
