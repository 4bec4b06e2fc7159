#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace rapt::cli {

/// The manual page rapt(1), in roff: the text of every --help.
std::string manual_page(const CLI::App& program);

/// Completion of commands and options.
std::string bash_completion(const CLI::App& program);
std::string zsh_completion(const CLI::App& program);
std::string fish_completion(const CLI::App& program);

/// Its commands, in the order of --help.
inline std::vector<const CLI::App*> commands_of(const CLI::App& program) {
  return program.get_subcommands([](const CLI::App*) { return true; });
}

/// Options that have a name with dashes.
inline std::vector<const CLI::Option*> options_of(const CLI::App& command) {
  return command.get_options([](const CLI::Option* option) { return option->nonpositional(); });
}

/// False for flags, which have a type but expect none of it.
inline bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() != 0; }

}  // namespace rapt::cli
