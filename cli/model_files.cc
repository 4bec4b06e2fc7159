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

ModelOptions ModelTypes::options() const {
  ModelOptions options;
  if (dtype == "bf16") options = {WeightType::kBF16, DType::kBF16};
  if (dtype == "native-bf16")
    options = {WeightType::kNativeBF16, DType::kBF16, Arithmetic::kNativeBF16};
  if (weights == "int8") options.weights = WeightType::kInt8;
  if (cache == "int8") options.cache = DType::kInt8;
  if (cache == "fp8") options.cache = DType::kF8E4M3;
  return options;
}

void add_types(CLI::App* command, ModelTypes& types) {
  const auto one_of = [](const std::string& names) {
    return [names](const std::string& given) {
      const bool is_one = ("|" + names + "|").find("|" + given + "|") != std::string::npos;
      return is_one && !given.empty() ? "" : "expected " + names + ", got '" + given + "'";
    };
  };
  command
      ->add_option("--dtype", types.dtype,
                   "f32: weights as they are stored, a KV cache in f32; bf16: both in bf16;\n"
                   "native-bf16: also multiplied in bf16, for CPUs with AVX512-BF16")
      ->check(one_of("f32|bf16|native-bf16"))
      ->type_name("TYPE")
      ->capture_default_str();
  command
      ->add_option("--weights", types.weights,
                   "Weights of the linear maps in int8, with a scale for each output")
      ->check(one_of("int8"))
      ->type_name("TYPE");
  command
      ->add_option("--cache", types.cache,
                   "KV cache in int8 or fp8 (e4m3), with scales for each token and head;\n"
                   "not with native-bf16")
      ->check(one_of("int8|fp8"))
      ->type_name("TYPE");
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

LoadedModel load_model(const fs::path& directory, const ModelOptions& options) {
  std::optional<Tokenizer> tokenizer;
  std::optional<Model> model;
  const double seconds = seconds_of([&] {
    StatusLine status;
    const std::string what = "loading " + directory.string();
    status.show(what + " ...");
    tokenizer = Tokenizer::load(directory / "tokenizer.json");
    model = Model::load(directory, options, [&](std::int64_t done, std::int64_t parts) {
      status.show(what, done, parts);
    });
  });
  return {*model, *tokenizer, seconds};
}

}  // namespace rapt::cli
