// rapt_manual SHARE: writes the manual page and the shells' completion below SHARE, where a prefix's
// share/ has them.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>

#include "cli/commands.h"
#include "cli/manual/manual.h"

namespace {

void write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  const std::filesystem::path temporary = path.string() + ".tmp";
  std::ofstream file(temporary, std::ios::binary);
  file.exceptions(std::ios::failbit | std::ios::badbit);
  file << text;
  file.close();
  std::filesystem::rename(temporary, path);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) throw std::invalid_argument("expected one argument, SHARE");
  const std::filesystem::path share = argv[1];
  CLI::App program;
  rapt::cli::add_commands(program);
  write(share / "man/man1/rapt.1", rapt::cli::manual_page(program));
  write(share / "bash-completion/completions/rapt", rapt::cli::bash_completion(program));
  write(share / "zsh/site-functions/_rapt", rapt::cli::zsh_completion(program));
  write(share / "fish/vendor_completions.d/rapt.fish", rapt::cli::fish_completion(program));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "rapt_manual: %s\n", error.what());
  return 1;
}
