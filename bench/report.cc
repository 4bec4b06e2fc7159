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
  if (seconds < 1)
    std::snprintf(text, sizeof text, "%.2f ms", 1e3 * seconds);
  else
    std::snprintf(text, sizeof text, "%.3f s", seconds);
  return text;
}

}  // namespace

std::string to_json(const Machine& machine, const Measurements& measurements) {
  Json cases = Json::array();
  for (const Measurement& m : measurements.cases)
    cases.push_back({{"name", m.name},
                     {"threads", m.threads},
                     {"seconds", m.seconds},
                     {"share", m.share.share},
                     {"limit", name(m.share.limit)}});
  const Json report = {{"machine", json_of(machine)},
                       {"ceilings",
                        {{"fma_gflops", measurements.ceilings.fma_flops / kGiga},
                         {"read_gbps", measurements.ceilings.read_bytes / kGiga},
                         {"threads", measurements.threads}}},
                       {"cases", cases}};
  return report.dump(2);
}

std::string to_table(const Machine& machine, const Measurements& measurements) {
  char line[256];
  std::snprintf(line, sizeof line, "rapt %s on %s, kernels %s, threads %d\n",
                machine.version.c_str(), machine.cpu.c_str(), machine.isa.c_str(),
                measurements.threads);
  std::string table = line;
  std::snprintf(line, sizeof line, "ceilings: fma %.1f GFLOP/s, read %.1f GB/s\n\n",
                measurements.ceilings.fma_flops / kGiga, measurements.ceilings.read_bytes / kGiga);
  table += line;
  std::snprintf(line, sizeof line, "%-36s %12s %8s  %s\n", "case", "time", "share", "of");
  table += line;
  for (const Measurement& m : measurements.cases) {
    std::snprintf(line, sizeof line, "%-36s %12s %7.1f%%  %s\n", m.name.c_str(),
                  seconds_text(m.seconds).c_str(), 100 * m.share.share, name(m.share.limit));
    table += line;
  }
  return table;
}

}  // namespace rapt::bench
