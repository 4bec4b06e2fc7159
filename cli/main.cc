#include <csignal>
#include <exception>
#include <iostream>

#include "cli/commands.h"
#include "cli/output.h"

namespace {

enum ExitStatus { kSuccess = 0, kFailure = 1, kUsage = 2 };

constexpr const char* kFooter =
    "Exit status: 0 success, 1 failure, 2 wrong usage, 130 interrupted.\n"
    "Environment: RAPT_FORCE_ISA=scalar|avx2|avx512 chooses the instruction set; it changes no "
    "bit.";

int run(CLI::App& program, int argc, char** argv) {
  try {
    program.parse(argc, argv);
    return kSuccess;
  } catch (const CLI::RuntimeError& error) {  // a subcommand's own status
    return error.get_exit_code();
  } catch (const CLI::ParseError& error) {  // help and version come here too
    return program.exit(error) == 0 ? kSuccess : kUsage;
  } catch (const rapt::cli::ReaderLeft&) {
    return kSuccess;
  } catch (const std::exception& error) {
    std::cerr << "rapt: " << error.what() << '\n';
    return kFailure;
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // print() tells of it
  CLI::App program("Exact attention for language models on CPUs.", "rapt");
  program.set_version_flag("--version", "rapt " RAPT_VERSION);
  program.require_subcommand(1);
  program.footer(kFooter);
  rapt::cli::add_generate(program);
  rapt::cli::add_bench(program);
  return run(program, argc, argv);
}
