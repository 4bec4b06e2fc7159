#include "model/json.h"

#include <set>
#include <utility>
#include <vector>

#include "base/check.h"

namespace rapt {
namespace {

constexpr std::size_t kLongestQuote = 60;
constexpr int kDeepest = 64;

// For a message: the beginning of the value's text.
std::string quote(const nlohmann::json& value) {
  std::string text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kLongestQuote) text = text.substr(0, kLongestQuote) + "...";
  return text;
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  using Event = nlohmann::json::parse_event_t;
  std::vector<std::set<std::string>> keys;  // of the objects around
  const auto check_event = [&](int depth, Event event, nlohmann::json& parsed) {
    require(depth <= kDeepest, ErrorCode::kBadFile, where,
            "at most " + std::to_string(kDeepest) + " values inside one another", "more");
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key)
      require(keys.back().insert(parsed.get<std::string>()).second, ErrorCode::kBadFile, where,
              "each key once in an object", quote(parsed) + " twice");
    return true;
  };
  // It would end the text for the parser, and hide the rest.
  const std::size_t zero = text.find('\0');
  require(zero == text.npos, ErrorCode::kBadFile, where, "JSON",
          "the character U+0000 at byte " + std::to_string(zero));
  try {
    return nlohmann::json::parse(text, check_event);
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorCode::kBadFile, where + ": expected JSON, got " + error.what());
  }
}

bool JsonField::has(const char* key) const {
  if (!value_->is_object()) fail("an object");
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

JsonField JsonField::operator[](const char* key) const {
  if (!value_->is_object()) fail("an object");
  const auto found = value_->find(key);
  const std::string where = where_ + " " + key;
  require(found != value_->end(), ErrorCode::kBadFile, where, "a value", "none");
  return {*found, where};
}

JsonField JsonField::at(std::size_t index) const {
  const std::string where = where_ + "[" + std::to_string(index) + "]";
  require(index < array_size(), ErrorCode::kBadFile, where, "a value", "none");
  return {(*value_)[index], where};
}

std::size_t JsonField::array_size() const {
  if (!value_->is_array()) fail("an array");
  return value_->size();
}

std::int64_t JsonField::integer(std::int64_t low, std::int64_t high) const {
  const std::string expected =
      "an integer from " + std::to_string(low) + " to " + std::to_string(high);
  if (value_->is_number_unsigned()) {  // beyond 2^63 - 1 a signed reading would wrap
    if (!std::in_range<std::int64_t>(value_->get<std::uint64_t>())) fail(expected);
  } else if (!value_->is_number_integer()) {
    fail(expected);
  }
  const auto number = value_->get<std::int64_t>();
  if (number < low || number > high) fail(expected);
  return number;
}

double JsonField::number() const {
  if (!value_->is_number()) fail("a number");
  return value_->get<double>();
}

bool JsonField::boolean() const {
  if (!value_->is_boolean()) fail("true or false");
  return value_->get<bool>();
}

const std::string& JsonField::string() const {
  if (!value_->is_string()) fail("a string");
  return value_->get_ref<const std::string&>();
}

void JsonField::fail(const std::string& expected, ErrorCode code) const {
  throw Error(code, where_ + ": expected " + expected + ", got " + quote(*value_));
}

}  // namespace rapt
