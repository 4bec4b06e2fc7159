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

double size_of(int name) {
  const long size = sysconf(name);
  return size > 0 ? static_cast<double>(size) : 0;
}

// The data cache of a level, as the kernel sees it: what sysconf asks the CPU may be the host's.
long cache_bytes(int level) {
  for (int index = 0;; ++index) {
    const std::string cache =
        "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    int cache_level;
    long kib;
    std::string type;
    if (!(std::ifstream(cache + "level") >> cache_level)) return 0;
    if (cache_level == level && std::ifstream(cache + "type") >> type && type != "Instruction" &&
        std::ifstream(cache + "size") >> kib)
      return 1024 * kib;
  }
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
  machine.l1d_bytes = cache_bytes(1);
  machine.l2_bytes = cache_bytes(2);
  machine.l3_bytes = cache_bytes(3);
  machine.memory_bytes = size_of(_SC_PHYS_PAGES) * size_of(_SC_PAGESIZE);
  machine.compiler = kCompiler;
  machine.version = RAPT_VERSION;
  return machine;
}

double available_bytes() {
  const std::string kib = field("/proc/meminfo", "MemAvailable");
  return kib.empty() ? std::numeric_limits<double>::infinity() : 1024 * std::stod(kib);
}

}  // namespace rapt::bench
