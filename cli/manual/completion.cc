#include <algorithm>

#include "cli/manual/manual.h"

namespace rapt::cli {
namespace {

/// All spellings of an option: -p, --prompt.
std::vector<std::string> names_of(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

/// What stands before the first semicolon or the end of the first sentence, in one line, without
/// what quotes and brackets would mean to a shell.
std::string summary(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  text = text.substr(0, std::min(text.find(';'), (text + ' ').find(". ")));
  std::erase_if(text, [](char c) { return std::string("'\"[]`$\\").find(c) != std::string::npos; });
  return text;
}

std::string option_words(const CLI::App& command) {
  std::string words;
  for (const CLI::Option* option : options_of(command))
    for (const std::string& name : names_of(*option)) words += (words.empty() ? "" : " ") + name;
  return words;
}

}  // namespace

std::string bash_completion(const CLI::App& program) {
  std::string commands, cases;
  for (const CLI::App* command : commands_of(program)) {
    commands += (commands.empty() ? "" : " ") + command->get_name();
    cases += "    " + command->get_name() + ") words='" + option_words(*command) + "' ;;\n";
  }
  return "# bash completion for rapt\n"
         "_rapt() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} command= words\n"
         "  ((COMP_CWORD > 1)) && command=${COMP_WORDS[1]}\n"
         "  case $command in\n" +
         cases + "    *) words='" + commands + " " + option_words(program) +
         "' ;;\n"
         "  esac\n"
         "  COMPREPLY=()\n"
         "  if [[ -z $command || $current == -* ]]; then\n"
         "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
         "  fi  # else a file\n"
         "}\n"
         "complete -o default -F _rapt rapt\n";
}

std::string zsh_completion(const CLI::App& program) {
  std::string commands, cases;
  for (const CLI::App* command : commands_of(program)) {
    commands += "    '" + command->get_name() + ":" + summary(command->get_description()) + "'\n";
    cases += "    " + command->get_name() + ")\n      _arguments \\\n";
    for (const CLI::Option* option : options_of(*command))
      for (const std::string& name : names_of(*option))
        cases += "        '" + name + "[" + summary(option->get_description()) + "]" +
                 (takes_value(*option) ? ":" + option->get_type_name() + ":" : "") + "' \\\n";
    cases += "        '*:file:_files' ;;\n";
  }
  std::string own;
  for (const CLI::Option* option : options_of(program))
    for (const std::string& name : names_of(*option))
      own += " '" + name + "[" + summary(option->get_description()) + "]'";
  return "#compdef rapt\n"
         "_rapt() {\n"
         "  local -a commands\n"
         "  commands=(\n" +
         commands +
         "  )\n"
         "  if ((CURRENT == 2)); then\n"
         "    _describe command commands\n"
         "    _arguments" +
         own +
         "\n"
         "    return\n"
         "  fi\n"
         "  local command=$words[2]\n"
         "  shift words\n"
         "  ((CURRENT--))\n"
         "  case $command in\n" +
         cases +
         "  esac\n"
         "}\n"
         "_rapt \"$@\"\n";
}

std::string fish_completion(const CLI::App& program) {
  const auto lines = [](const CLI::App& app, const std::string& condition) {
    std::string text;
    for (const CLI::Option* option : options_of(app)) {
      text += "complete -c rapt -n '" + condition + "'";
      for (const std::string& name : option->get_snames()) text += " -s " + name;
      for (const std::string& name : option->get_lnames()) text += " -l " + name;
      text += std::string(takes_value(*option) ? " -x" : "") + " -d '" +
              summary(option->get_description()) + "'\n";
    }
    return text;
  };
  std::string text = "# fish completion for rapt\n";
  for (const CLI::App* command : commands_of(program))
    text += "complete -c rapt -n __fish_use_subcommand -f -a " + command->get_name() + " -d '" +
            summary(command->get_description()) + "'\n";
  text += lines(program, "__fish_use_subcommand");
  for (const CLI::App* command : commands_of(program))
    text += lines(*command, "__fish_seen_subcommand_from " + command->get_name());
  return text;
}

}  // namespace rapt::cli
