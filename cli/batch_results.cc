#include "cli/batch_results.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <optional>
#include <system_error>

#include "base/check.h"
#include "cli/output.h"
#include "model/json.h"
#include "model/mapped_file.h"

namespace rapt::cli {
namespace {

void require_system(bool ok, const std::filesystem::path& path, const char* expected) {
  require(ok, ErrorCode::kIo, path.string(), expected,
          "\"" + std::generic_category().message(errno) + "\"");
}

/// None: no JSON.
std::optional<nlohmann::json> parsed(std::string_view line) {
  try {
    return parse_json(line, "answer");
  } catch (const Error&) {
    return {};
  }
}

bool begins_like_an_answer(std::string_view text) {
  for (const std::string_view head : {R"({"id":)", R"({"line":)"})
    if (text.starts_with(head) || head.starts_with(text)) return true;
  return false;
}

bool is_answer(const nlohmann::json& line) {
  return line.is_object() &&
         (line.contains("finish") || (line.contains("line") && line.contains("error")));
}

}  // namespace

BatchResults::BatchResults(const std::filesystem::path& path,
                           const std::vector<BatchRequest>& requests)
    : path_(path), requests_(requests), answered_(requests.size()) {
  for (std::size_t n = 0; n < requests.size(); ++n)
    if (!requests[n].id.is_null()) by_id_.emplace(requests[n].id.dump(), n);
  file_ = open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  require_system(file_ >= 0, path, "a file that can be written");
  try {
    require_system(flock(file_, LOCK_EX | LOCK_NB) == 0, path, "no other run that writes it");
    const MappedFile content(path);
    const auto bytes = content.bytes();
    const std::size_t whole = read({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    if (whole < bytes.size())
      require_system(ftruncate(file_, static_cast<off_t>(whole)) == 0, path,
                     "to cut off its torn last line");
  } catch (...) {
    close(file_);
    throw;
  }
}

BatchResults::~BatchResults() { close(file_); }

/// Counts the answers of earlier runs; returns the bytes up to the end of the last whole one.
std::size_t BatchResults::read(std::string_view text) {
  std::size_t begin = 0;
  for (std::int64_t line = 1; begin < text.size(); ++line) {
    const std::string where = path_.string() + " line " + std::to_string(line);
    const std::size_t end = text.find('\n', begin);
    const bool last = end == std::string_view::npos || end + 1 == text.size();
    const auto answer = parsed(text.substr(begin, end - begin));
    if (last && (end == std::string_view::npos || !answer)) {
      require(answer ? is_answer(*answer) : begins_like_an_answer(text.substr(begin)),
              ErrorCode::kBadFile, where, "an answer of an earlier run", "something else");
      return begin;
    }
    require(answer.has_value(), ErrorCode::kBadFile, where, "JSON", "something else");
    read_answer(*answer, where);
    begin = end + 1;
  }
  return begin;
}

void BatchResults::read_answer(const nlohmann::json& answer, const std::string& where) {
  const JsonField object(answer, where);
  const nlohmann::ordered_json id = object.has("id") ? object["id"].value() : nullptr;
  const bool is_error = object.has("error");
  std::size_t request = requests_.size();
  if (is_error) {
    const std::int64_t line = object["line"].integer(1, std::numeric_limits<std::int64_t>::max());
    const auto at = std::ranges::lower_bound(requests_, line, {}, &BatchRequest::line);
    if (at != requests_.end() && at->line == line && at->id == id) request = at - requests_.begin();
  } else {
    object["finish"].string();
    if (const auto at = by_id_.find(id.dump()); at != by_id_.end()) request = at->second;
  }
  require(request < requests_.size(), ErrorCode::kBadFile, where,
          "an answer to one of the requests", "one to id " + id.dump());
  count(request, is_error);
}

void BatchResults::count(std::size_t request, bool is_error) {
  require(!answered_[request], ErrorCode::kBadFile, path_.string(), "one answer to each request",
          "two to that of line " + std::to_string(requests_[request].line));
  answered_[request] = true;
  ++answers_;
  errors_ += is_error;
}

void BatchResults::answer(std::size_t request, const nlohmann::ordered_json& fields) {
  append({{"id", requests_[request].id}}, fields);
  count(request, false);
}

void BatchResults::refuse(std::size_t request, const std::string& error) {
  nlohmann::ordered_json head = nlohmann::ordered_json::object();
  if (!requests_[request].id.is_null()) head["id"] = requests_[request].id;
  append(head, {{"line", requests_[request].line}, {"error", error}});
  count(request, true);
}

void BatchResults::append(nlohmann::ordered_json head, const nlohmann::ordered_json& fields) {
  head.update(fields);
  const std::string line = json_text(head);
  for (std::size_t done = 0; done < line.size();) {  // once, but for a disk that is nearly full
    const ssize_t size = write(file_, line.data() + done, line.size() - done);
    require_system(size >= 0, path_, "to be written");
    done += static_cast<std::size_t>(size);
  }
}

void BatchResults::sync() { require_system(fsync(file_) == 0, path_, "to be written"); }

}  // namespace rapt::cli
