#include "base/isa.h"
#include "cli/commands.h"

namespace rapt::cli {
namespace {

constexpr const char* kFooter =
    "Exit status:\n"
    "  0    success\n"
    "  1    failure: a file, the model, the system or a request of a batch\n"
    "  2    wrong usage\n"
    "  3    the text needs more than the model's context; what was written stays\n"
    "  4    the audit has found a leak\n"
    "  130  interrupted, by Ctrl-C or SIGTERM\n"
    "\n"
    "Environment:\n"
    "  RAPT_MODEL      directory of the model to use where MODEL is left out\n"
    "  RAPT_FORCE_ISA  scalar, neon, avx2, avx512 or avx512bf16: the instruction set to use; it "
    "changes no "
    "bit\n"
    "\n"
    "Examples:\n"
    "  rapt generate -p \"Once upon a time\" -n 100\n"
    "  rapt eval book.txt\n"
    "  rapt COMMAND --help";

}  // namespace

void add_commands(CLI::App& program) {
  program.name("rapt");
  program.description("Exact attention for language models on CPUs.");
  program.set_help_flag("-h,--help", "Print this help and exit");
  program.set_version_flag("--version", "rapt " RAPT_VERSION, "Print the version and exit");
  program.require_subcommand(1);
  program.get_formatter()->label("SUBCOMMAND", "COMMAND");
  program.footer(kFooter);
  add_generate(program);
  add_batch(program);
  add_eval(program);
  add_info(program);
  add_heads(program);
  add_ablate(program);
  add_convert(program);
  add_audit(program);
  add_bench(program);
  for (CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; }))
    command->group("Commands");
}

void add_threads(CLI::App* command, int& threads) {
  command->add_option("--threads", threads, "Worker threads, 0: one for each core")
      ->check(CLI::Range(0, 1024).description(""))
      ->type_name("T")
      ->capture_default_str();
}

void add_json(CLI::App* command, bool& json, const std::string& contents) {
  command->add_flag("--json", json, "Print one JSON object instead; it has " + contents);
}

void on_run(CLI::App* command, std::function<void()> run) {
  command->callback([run = std::move(run)] {
    active_isa();
    run();
  });
}

}  // namespace rapt::cli
