#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace rapt::cli {

/// What the program's exit status says, beside 128 + SIGINT.
enum ExitStatus {
  kSuccess = 0,
  kFailure = 1,
  kUsage = 2,
  kContextFull = 3,
  kLeak = 4,
  kInterrupted = 130
};

/// The program: all subcommands with their options, help and callbacks. A callback prints its result
/// by `print`, and throws rapt::Error for what goes wrong, CLI::ValidationError for wrong usage.
void add_commands(CLI::App& program);

/// Each adds one subcommand.
void add_ablate(CLI::App& program);
void add_audit(CLI::App& program);
void add_batch(CLI::App& program);
void add_bench(CLI::App& program);
void add_convert(CLI::App& program);
void add_eval(CLI::App& program);
void add_generate(CLI::App& program);
void add_heads(CLI::App& program);
void add_info(CLI::App& program);

/// Options that mean the same everywhere.
void add_threads(CLI::App* command, int& threads);
void add_json(CLI::App* command, bool& json, const std::string& contents);

/// Makes `run` what the command does, once RAPT_FORCE_ISA is known to be right.
void on_run(CLI::App* command, std::function<void()> run);

}  // namespace rapt::cli
