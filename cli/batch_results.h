#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cli/batch_requests.h"
#include "cli/lines_file.h"

namespace rapt::cli {

/// The file of answers to a batch of requests, a JSON object a line.
class BatchResults {
 public:
  /// Opens the file, made if it is not there, and finds the requests that it answers.
  /// @pre    requests outlive it.
  /// @throws Error{kIo}, also while another run writes the file; Error{kBadFile} naming the first
  ///         line that is no answer to one of the requests: the file is then left as it was.
  BatchResults(const std::filesystem::path& path, const std::vector<BatchRequest>& requests);

  bool answered(std::size_t request) const { return answered_[request]; }
  std::size_t answers() const { return answers_; }  ///< errors included
  std::size_t errors() const { return errors_; }

  /// Appends an answer: `fields` after the id.
  /// @throws Error{kIo}.
  void answer(std::size_t request, const nlohmann::ordered_json& fields);
  void refuse(std::size_t request, const std::string& error);

  /// What was appended is on the disk now.
  void sync() { file_.sync(); }

 private:
  void read_answer(const nlohmann::json& answer, const std::string& where);
  void count(std::size_t request, bool is_error);
  void append(nlohmann::ordered_json head, const nlohmann::ordered_json& fields);

  const std::filesystem::path path_;
  const std::vector<BatchRequest>& requests_;
  const std::map<std::string, std::size_t> by_id_;
  std::vector<bool> answered_;
  std::size_t answers_ = 0, errors_ = 0;
  LinesFile file_;  // its lines are counted above
};

}  // namespace rapt::cli
