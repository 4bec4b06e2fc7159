#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "rapt/error.h"
#include "rapt/tokenizer.h"

namespace rapt::cli {

/// A file that a model is run on.
struct Text {
  std::string file;
  std::size_t bytes;
  std::vector<std::int32_t> tokens;  ///< without those that begin every text
};

/// @throws Error naming the file, if it is empty, not UTF-8, or a single token.
Text read_tokens(const std::string& file, const Tokenizer& tokenizer);

/// The same of several files, each of them an observation.
/// @throws as read_tokens; Error naming two files whose texts have the same tokens.
std::vector<Text> read_texts(const std::vector<std::string>& files, const Tokenizer& tokenizer);

/// run(), whose errors begin with `what`.
template <class Run>
auto named_errors(const std::string& what, const Run& run) {
  try {
    return run();
  } catch (const Error& error) {
    throw Error(error.code(), what + ": " + error.what());
  }
}

/// Adds the positional options MODEL and FILE.
void add_model_and_texts(CLI::App* command, std::string& model, std::vector<std::string>& files);

/// Puts what stands in MODEL's place among the files, unless it is a directory: FILE may stand alone.
/// @throws CLI::RequiredError if there is no file.
void sort_model_and_texts(std::string& model, std::vector<std::string>& files);

}  // namespace rapt::cli
