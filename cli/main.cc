#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <exception>
#include <iostream>

#include "cli/commands.h"
#include "cli/generator.h"
#include "cli/output.h"

namespace rapt::cli {
namespace {

int fail(const std::exception& error, ExitStatus status) {
  std::cerr << "rapt: " << error.what() << '\n';
  return status;
}

int run(CLI::App& program, int argc, char** argv) {
  try {
    program.parse(argc, argv);
    return kSuccess;
  } catch (const CLI::RuntimeError& error) {  // a subcommand's own status
    return error.get_exit_code();
  } catch (const CLI::ParseError& error) {  // help and version come here too
    return program.exit(error) == 0 ? kSuccess : kUsage;
  } catch (const ReaderLeft&) {
    return kSuccess;
  } catch (const ContextFull& error) {
    return fail(error, kContextFull);
  } catch (const std::exception& error) {
    return fail(error, kFailure);
  }
}

/// A stream that the caller closed stays unusable, but no file is opened in its place and written to.
void occupy_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (fcntl(stream, F_GETFD) < 0) open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

}  // namespace
}  // namespace rapt::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // print() tells of it
  rapt::cli::occupy_streams();
  CLI::App program;
  rapt::cli::add_commands(program);
  return rapt::cli::run(program, argc, argv);
}
