#include "bench/report.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace rapt::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kGiga = 1e9;

Json known(double size) { return size > 0 ? Json(static_cast<std::int64_t>(size)) : Json(nullptr); }

Json json_of(const Machine& machine) {
  return {{"cpu", machine.cpu},
          {"cores", machine.cores},
          {"isa", machine.isa},
          {"caches",
           {{"l1d_bytes", known(machine.l1d_bytes)},
            {"l2_bytes", known(machine.l2_bytes)},
            {"l3_bytes", known(machine.l3_bytes)}}},
          {"memory_bytes", known(machine.memory_bytes)},
          {"compiler", machine.compiler},
          {"rapt", machine.version}};
}

std::string seconds_text(double seconds) {
  char text[32];
  if (seconds < 1e-3)
    std::snprintf(text, sizeof text, "%.2f us", 1e6 * seconds);
  else if (seconds < 1)
    std::snprintf(text, sizeof text, "%.2f ms", 1e3 * seconds);
  else
    std::snprintf(text, sizeof text, "%.3f s", seconds);
  return text;
}

std::string percent(double fraction) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f%%", 100 * fraction);
  return text;
}

}  // namespace

std::string to_json(const Machine& machine, const Measurements& measurements) {
  Json ceilings = Json::array(), cases = Json::array();
  for (const Ceilings& c : measurements.ceilings)
    ceilings.push_back(
        {{"threads", ceilings.size() + 1},
         {"fma_gflops", c.fma_flops / kGiga},
         {"exp_gelements", c.exp_elements / kGiga},
         {"read_gbps", c.read_bytes / kGiga},
         {"dot_gflops", c.dot_flops > 0 ? Json(c.dot_flops / kGiga) : Json(nullptr)}});
  for (const Measurement& m : measurements.cases)
    cases.push_back({{"name", m.name},
                     {"threads", m.threads},
                     {"flops", m.work.flops},
                     {"bytes", m.work.bytes},
                     {"seconds", m.seconds},
                     {"share", m.share.share},
                     {"limit", name(m.share.limit)},
                     {"clock", m.clock},
                     {"scaling", m.scaling ? Json(*m.scaling) : Json(nullptr)}});
  const Json report = {{"machine", json_of(machine)}, {"ceilings", ceilings}, {"cases", cases}};
  return report.dump(2);
}

std::string to_table(const Machine& machine, const Measurements& measurements) {
  char line[256];
  std::snprintf(line, sizeof line, "rapt %s on %s, kernels %s\n\n", machine.version.c_str(),
                machine.cpu.c_str(), machine.isa.c_str());
  std::string table = line;
  std::snprintf(line, sizeof line, "%8s  %14s  %14s  %10s\n", "threads", "fma", "exp", "read");
  table += line;
  int threads = 0;
  for (const Ceilings& c : measurements.ceilings) {
    std::snprintf(line, sizeof line, "%8d  %6.1f GFLOP/s  %7.2f Gexp/s  %5.1f GB/s\n", ++threads,
                  c.fma_flops / kGiga, c.exp_elements / kGiga, c.read_bytes / kGiga);
    table += line;
  }
  std::snprintf(line, sizeof line, "\n%-40s %7s %12s %8s  %-4s %6s %8s\n", "case", "threads",
                "time", "share", "of", "clock", "scaling");
  table += line;
  for (const Measurement& m : measurements.cases) {
    std::snprintf(line, sizeof line, "%-40s %7d %12s %8s  ", m.name.c_str(), m.threads,
                  seconds_text(m.seconds).c_str(), percent(m.share.share).c_str());
    table += line;
    std::snprintf(line, sizeof line, m.scaling ? "%-4s %6.2f %8s\n" : "%-4s %6.2f%s\n",
                  name(m.share.limit), m.clock, m.scaling ? percent(*m.scaling).c_str() : "");
    table += line;
  }
  return table;
}

}  // namespace rapt::bench
