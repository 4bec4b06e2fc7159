#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "rapt/engine.h"

namespace rapt::cli {

/// A line of a file of requests.
struct BatchRequest {
  std::int64_t line = 0;              ///< from 1 on
  nlohmann::ordered_json id;          ///< a string or an integer; null: the line has none
  std::optional<std::string> prompt;  ///< none: request.prompt has its tokens
  Request request;
  std::string error;  ///< what is wrong with the line, if anything
};

/// All lines of a JSONL file that are not blank, bad ones and ids that come twice with an error.
/// @throws Error{kIo} naming the file.
std::vector<BatchRequest> read_requests(const std::filesystem::path& path);

}  // namespace rapt::cli
