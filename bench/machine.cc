#include "bench/machine.h"

#include <unistd.h>

#include <fstream>
#include <limits>

#include "base/isa.h"
#include "rapt/threads.h"

namespace rapt::bench {
namespace {

// Text after the colon of the first line of `file` that starts with `key`.
std::string field(const char* file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key)) {
      const std::size_t value = line.find_first_not_of(" \t", line.find(':') + 1);
      return value == std::string::npos ? "" : line.substr(value);
    }
  return "";
}

long size_of(int name) {
  const long size = sysconf(name);
  return size > 0 ? size : 0;
}

#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#else
constexpr const char* kCompiler = "gcc " __VERSION__;
#endif

}  // namespace

Machine this_machine() {
  Machine machine;
  machine.cpu = field("/proc/cpuinfo", "model name");
  machine.cores = Threads().count();
  machine.isa = name(active_isa());
  machine.l1d_bytes = size_of(_SC_LEVEL1_DCACHE_SIZE);
  machine.l2_bytes = size_of(_SC_LEVEL2_CACHE_SIZE);
  machine.l3_bytes = size_of(_SC_LEVEL3_CACHE_SIZE);
  machine.memory_bytes =
      static_cast<double>(size_of(_SC_PHYS_PAGES)) * static_cast<double>(size_of(_SC_PAGESIZE));
  machine.compiler = kCompiler;
  machine.version = RAPT_VERSION;
  return machine;
}

double available_bytes() {
  const std::string kib = field("/proc/meminfo", "MemAvailable");
  return kib.empty() ? std::numeric_limits<double>::infinity() : 1024 * std::stod(kib);
}

}  // namespace rapt::bench
