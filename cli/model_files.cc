#include "cli/model_files.h"

#include <cstdlib>
#include <optional>

#include "base/check.h"
#include "base/clock.h"
#include "cli/output.h"

namespace rapt::cli {
namespace {

namespace fs = std::filesystem;

/// Where the model stands that was built or installed with this program.
fs::path beside_program() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  require(!error, ErrorCode::kIo, "/proc/self/exe",
          "where the program is, as MODEL and RAPT_MODEL are left out", error.message());
  return (program.parent_path() / RAPT_DEFAULT_MODEL).lexically_normal();
}

void check_vocabulary(const Model& model, const Tokenizer& tokenizer) {
  require(tokenizer.vocab_size() <= model.config().vocab_size, ErrorCode::kBadFile,
          "tokenizer.json",
          "at most vocab_size of config.json (" + std::to_string(model.config().vocab_size) +
              ") tokens",
          tokenizer.vocab_size());
}

}  // namespace

bool names_directory(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

void add_model(CLI::App* command, std::string& model) {
  command
      ->add_option("MODEL", model,
                   "Directory of a Hugging Face model: config.json, model.safetensors,\n"
                   "tokenizer.json. Left out: $RAPT_MODEL, else the model that came with rapt")
      ->check(CLI::Validator(
          [](const std::string& name) {
            return name.empty() ? "expected a directory, got an empty name" : "";
          },
          ""))
      ->type_name("");
}

fs::path find_model(const std::string& named) {
  if (!named.empty()) return named;
  const char* variable = std::getenv("RAPT_MODEL");
  if (variable != nullptr && *variable != '\0') {
    require(names_directory(variable), ErrorCode::kIo, "RAPT_MODEL", "a model's directory",
            "'" + std::string(variable) + "'");
    return variable;
  }
  const fs::path installed = beside_program();
  require(names_directory(installed), ErrorCode::kIo, "MODEL",
          "a model's directory as argument, in RAPT_MODEL, or at " + installed.string(),
          "none of them");
  return installed;
}

LoadedModel load_model(const fs::path& directory) {
  std::optional<Tokenizer> tokenizer;
  std::optional<Model> model;
  const double seconds = seconds_of([&] {
    StatusLine status;
    status.show("loading " + directory.string() + " ...");
    tokenizer = Tokenizer::load(directory / "tokenizer.json");
    model = Model::load(directory);
    check_vocabulary(*model, *tokenizer);
  });
  return {*model, *tokenizer, seconds};
}

}  // namespace rapt::cli
