#include "cli/batch_requests.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "base/check.h"
#include "model/json.h"
#include "model/mapped_file.h"

namespace rapt::cli {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 31;

using Reader = void (*)(const JsonField& field, BatchRequest& request);

void read_id(const JsonField& field, BatchRequest& request) {
  if (!field.value().is_string() && !field.value().is_number_integer())
    field.fail("a string or an integer");
  request.id = field.value();
}

void read_tokens(const JsonField& field, BatchRequest& request) {
  for (std::size_t n = 0; n < field.array_size(); ++n)
    request.request.prompt.push_back(static_cast<std::int32_t>(field.at(n).integer(0, kMost - 1)));
}

void read_stop(const JsonField& field, BatchRequest& request) {
  std::vector<std::string>& stops = request.request.stop_strings;
  if (field.value().is_string()) return stops.push_back(field.string());
  if (!field.value().is_array()) field.fail("a string or an array of strings");
  for (std::size_t n = 0; n < field.array_size(); ++n) stops.push_back(field.at(n).string());
}

void read_seed(const JsonField& field, BatchRequest& request) {
  if (!field.value().is_number_unsigned()) field.fail("an integer from 0 to 2^64 - 1");
  request.request.sampler.seed = field.value().get<std::uint64_t>();
}

template <double SamplerConfig::*kMember>
void read_number(const JsonField& field, BatchRequest& request) {
  request.request.sampler.*kMember = field.number();
}

const std::map<std::string_view, Reader> kReaders = {
    {"id", read_id},
    {"prompt", [](const JsonField& f, BatchRequest& r) { r.prompt = f.string(); }},
    {"tokens", read_tokens},
    {"max_tokens",
     [](const JsonField& f, BatchRequest& r) { r.request.max_new_tokens = f.integer(0, kMost); }},
    {"temperature", read_number<&SamplerConfig::temperature>},
    {"top_k",
     [](const JsonField& f, BatchRequest& r) { r.request.sampler.top_k = f.integer(0, kMost); }},
    {"top_p", read_number<&SamplerConfig::top_p>},
    {"min_p", read_number<&SamplerConfig::min_p>},
    {"repetition_penalty", read_number<&SamplerConfig::repetition_penalty>},
    {"seed", read_seed},
    {"stop", read_stop},
    {"priority",
     [](const JsonField& f, BatchRequest& r) { r.request.priority = f.integer(-kMost, kMost); }},
    {"logprobs", [](const JsonField& f, BatchRequest& r) { r.request.logprobs = f.boolean(); }}};

void read_fields(std::string_view text, BatchRequest& request) {
  const nlohmann::json parsed = parse_json(text, "request");
  const JsonField object(parsed, "request");
  read_id(object["id"], request);  // first: what is wrong with the others is told with it
  object.for_each_member([&](const std::string& key, const JsonField& field) {
    const auto reader = kReaders.find(key);
    require(reader != kReaders.end(), ErrorCode::kBadFile, "request",
            "only fields that rapt batch --help has", "\"" + key + "\"");
    if (!field.is_null()) reader->second(field, request);
  });
  const bool prompt = object.has("prompt"), tokens = object.has("tokens");
  require(prompt != tokens, ErrorCode::kBadFile, "request", "either prompt or tokens",
          prompt ? "both" : "neither");
}

BatchRequest read_request(std::int64_t line, std::string_view text) {
  BatchRequest request;
  request.line = line;
  try {
    read_fields(text, request);
  } catch (const Error& error) {
    request.error = error.what();
  }
  return request;
}

}  // namespace

std::vector<BatchRequest> read_requests(const std::filesystem::path& path) {
  const MappedFile file(path);
  std::string_view rest(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  std::vector<BatchRequest> requests;
  std::set<std::string> ids;
  for (std::int64_t line = 1; !rest.empty(); ++line) {
    const std::string_view text = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), text.size() + 1));
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    requests.push_back(read_request(line, text));
    BatchRequest& request = requests.back();
    if (!request.id.is_null() && !ids.insert(request.id.dump()).second)
      request.error = "request id: expected one that no line before has, got " + request.id.dump();
  }
  return requests;
}

}  // namespace rapt::cli
