#pragma once

#include <CLI/CLI.hpp>

namespace rapt::cli {

/// Each adds one subcommand to the program, with its options, help and callback. A callback prints
/// its result by `print` and throws rapt::Error for what goes wrong.
void add_bench(CLI::App& program);
void add_generate(CLI::App& program);

}  // namespace rapt::cli
