#include <limits>
#include <memory>

#include "bench/report.h"
#include "cli/commands.h"
#include "cli/output.h"

namespace rapt::cli {
namespace {

struct Options {
  bool json = false, list = false;
  std::string glob = "*";
  int threads = 1, repeats = 5;
};

bench::Measurements measure(const std::vector<bench::Case>& cases, const Options& options) {
  StatusLine status;
  return bench::measure(cases, Threads(options.threads), options.repeats,
                        [&](const std::string& text) { status.show(text); });
}

void run_bench(const Options& options) {
  const std::vector<bench::Case> cases = bench::cases_matching(options.glob);
  if (options.list) {
    for (const bench::Case& c : cases) print(c.name + "\n");
    return;
  }
  const bench::Measurements found = measure(cases, options);
  const bench::Machine machine = bench::this_machine();
  print((options.json ? to_json(machine, found) : to_table(machine, found)) + "\n");
}

}  // namespace

void add_bench(CLI::App& program) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "bench", "Measure attention and linear maps as shares of what this machine can do at most");
  command->add_option("--case", options->glob, "Cases to measure, as a pattern: 'decode/*'")
      ->type_name("PATTERN")
      ->capture_default_str();
  command->add_flag("--list", options->list, "Only list the cases");
  command->add_option("--repeats", options->repeats, "Repeats of each case; the fastest counts")
      ->check(CLI::Range(1, std::numeric_limits<int>::max()).description(""))
      ->type_name("N")
      ->capture_default_str();
  add_threads(command, options->threads);
  add_json(command, options->json, "machine, ceilings, cases");
  command->footer(
      "A case's share is its useful work beside the ceiling that limits it, FMA peak or read\n"
      "bandwidth, both measured between the repeats. With several threads every case is measured\n"
      "on one as well: scaling is the speed gained, as a share of what the ceiling gains.\n"
      "The clock is the FMA rate just after a case over its peak: products may lower it.\n"
      "\n"
      "Examples:\n"
      "  rapt bench\n"
      "  rapt bench --case 'decode/*' --threads 2 --json");
  on_run(command, [options] { run_bench(*options); });
}

}  // namespace rapt::cli
