#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

#include "rapt/model.h"
#include "rapt/tokenizer.h"

namespace rapt::cli {

/// False too where the system does not say.
bool names_directory(const std::filesystem::path& path);

/// Adds the positional option MODEL.
void add_model(CLI::App* command, std::string& model);

/// What --dtype, --weights and --cache say.
struct ModelTypes {
  std::string dtype = "f32", weights, cache;

  ModelOptions options() const;
};

/// Adds --dtype, --weights and --cache.
void add_types(CLI::App* command, ModelTypes& types);

/// The model's directory: `named` if it is not empty, else $RAPT_MODEL, else the one that stands
/// beside the program.
/// @throws Error{kIo} that says where it looked.
std::filesystem::path find_model(const std::string& named);

struct LoadedModel {
  Model model;
  Tokenizer tokenizer;
  double seconds;
};

/// Reads model and tokenizer of a directory; a line on a terminal says so while it takes.
/// @throws Error naming the file and what is wrong.
LoadedModel load_model(const std::filesystem::path& directory, const ModelOptions& options = {});

}  // namespace rapt::cli
