#include <unistd.h>

#include <cstdio>
#include <memory>

#include "bench/report.h"
#include "cli/commands.h"

namespace rapt::cli {
namespace {

struct Options {
  bool json = false, list = false;
  std::string glob = "*";
  int threads = 1, repeats = 5;
};

// One line that is rewritten, for people who wait; nothing in a file.
void show_progress(const std::string& text) {
  if (isatty(STDERR_FILENO)) std::fprintf(stderr, "\r\033[K%s", text.c_str());
}

void run_bench(const Options& options) {
  const std::vector<bench::Case> cases = bench::cases_matching(options.glob);
  if (options.list) {
    for (const bench::Case& c : cases) std::puts(c.name.c_str());
    return;
  }
  const bench::Measurements found =
      bench::measure(cases, Threads(options.threads), options.repeats, show_progress);
  show_progress("");
  const bench::Machine machine = bench::this_machine();
  std::puts((options.json ? to_json(machine, found) : to_table(machine, found)).c_str());
}

}  // namespace

void add_bench(CLI::App& program) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "bench", "Measure attention and linear maps as shares of what this machine can do at most");
  command->add_flag("--json", options->json, "Print one JSON object instead of a table");
  command->add_flag("--list", options->list, "Only list the cases");
  command->add_option("--case", options->glob, "Cases to measure, as a pattern: 'decode/*'")
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Worker threads, 0: one for each core")
      ->capture_default_str();
  command->add_option("--repeats", options->repeats, "Repeats of each case; the fastest counts")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->callback([options] { run_bench(*options); });
}

}  // namespace rapt::cli
