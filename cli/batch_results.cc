#include "cli/batch_results.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "model/json.h"

namespace rapt::cli {
namespace {

bool is_answer(const nlohmann::json& line) {
  return line.is_object() &&
         (line.contains("finish") || (line.contains("line") && line.contains("error")));
}

std::map<std::string, std::size_t> places_of(const std::vector<BatchRequest>& requests) {
  std::map<std::string, std::size_t> places;
  for (std::size_t n = 0; n < requests.size(); ++n)
    if (!requests[n].id.is_null()) places.emplace(requests[n].id.dump(), n);
  return places;
}

}  // namespace

BatchResults::BatchResults(const std::filesystem::path& path,
                           const std::vector<BatchRequest>& requests)
    : path_(path),
      requests_(requests),
      by_id_(places_of(requests)),
      answered_(requests.size()),
      file_(path, {"an answer", {R"({"id":)", R"({"line":)"}, is_answer},
            [this](const nlohmann::json& answer, const std::string& where) {
              read_answer(answer, where);
            }) {}

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
  file_.append(head);
}

}  // namespace rapt::cli
