#include "cli/manual/manual.h"

namespace rapt::cli {
namespace {

/// `text` so that roff takes it literally: backslashes, dashes, and dots and quotes that begin a line.
std::string escaped(const std::string& text) {
  std::string result;
  bool at_start = true;
  for (const char c : text) {
    if (at_start && (c == '.' || c == '\'')) result += "\\&";
    if (c == '\\')
      result += "\\e";
    else if (c == '-')
      result += "\\-";
    else
      result += c;
    at_start = c == '\n';
  }
  return result;
}

/// Lines as they are.
std::string literal(const std::string& text) { return ".nf\n" + escaped(text) + "\n.fi\n"; }

std::string item(const std::string& name, const std::string& value, const std::string& text) {
  const std::string argument = value.empty() ? "" : " \\fI" + escaped(value) + "\\fR";
  return ".TP\n\\fB" + escaped(name) + "\\fR" + argument + "\n" + escaped(text) + "\n";
}

std::string description_of(const CLI::Option& option) {
  const std::string& start = option.get_default_str();
  return option.get_description() + (start.empty() ? "." : ".\nDefault: " + start + ".");
}

std::string options(const CLI::App& command) {
  std::string text;
  for (const CLI::Option* option : command.get_options({})) {
    const bool positional = option->get_positional();
    std::string name = option->get_name(positional, !positional);
    if (const auto comma = name.find(','); comma != std::string::npos) name.insert(comma + 1, " ");
    text +=
        item(name, takes_value(*option) ? option->get_type_name() : "", description_of(*option));
  }
  return text;
}

std::string synopsis(const CLI::App& command) {
  std::string text = "\\fBrapt " + escaped(command.get_name()) + "\\fR [\\fIOPTIONS\\fR]";
  for (const CLI::Option* option : command.get_options({}))
    if (option->get_positional())
      text += " [\\fI" + option->get_name(true) + "\\fR]" +
              (option->get_expected_max() > 1 ? "..." : "");
  return text + "\n";
}

}  // namespace

std::string manual_page(const CLI::App& program) {
  const auto commands = commands_of(program);
  std::string page = ".TH RAPT 1 \"\" \"" + program.version() + "\" \"User Commands\"\n";
  page += ".SH NAME\nrapt \\- exact attention for language models on CPUs\n.SH SYNOPSIS\n";
  for (const CLI::App* command : commands) page += synopsis(*command) + ".br\n";
  page += "\\fBrapt\\fR [\\fB\\-\\-help\\fR] [\\fB\\-\\-version\\fR]\n";
  page += ".SH DESCRIPTION\n" + escaped(program.get_description()) + "\n";
  page += "Every command has \\-\\-help.\n.SH OPTIONS\n" + options(program) + ".SH COMMANDS\n";
  for (const CLI::App* command : commands) {
    page += ".SS rapt " + escaped(command->get_name()) + "\n";
    page += escaped(command->get_description()) + ".\n" + options(*command) + ".PP\n" +
            literal(command->get_footer());
  }
  return page + ".SH NOTES\n" + literal(program.get_footer());
}

}  // namespace rapt::cli
