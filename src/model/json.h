#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "rapt/error.h"

namespace rapt {

/// Parses JSON strictly: no comments, no key twice in an object, at most 64 values inside one
/// another (walking a deeper tree, as a message does, would exhaust the stack).
/// @throws Error{kBadFile} that begins with `where`.
nlohmann::json parse_json(std::string_view text, const std::string& where);

/// A value in a JSON file with the path that leads to it, so that every error names its field:
/// `config.json hidden_size: expected an integer from 1 to 1048576, got "64"`.
///
/// Reading is strict: 64.0 and "64" are no integers, 1 is no boolean. What does not fit is
/// Error{kBadFile}.
class JsonField {
 public:
  JsonField(const nlohmann::json& value, std::string where)
      : value_(&value), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  const nlohmann::json& value() const { return *value_; }
  bool is_null() const { return value_->is_null(); }

  /// Whether this object has `key` with a value other than null.
  bool has(const char* key) const;

  JsonField operator[](const char* key) const;
  JsonField at(std::size_t index) const;

  /// Number of elements.
  /// @throws Error{kBadFile} unless this is an array.
  std::size_t array_size() const;

  std::int64_t integer(std::int64_t low, std::int64_t high) const;
  double number() const;
  bool boolean() const;
  const std::string& string() const;

  /// Calls f(key, field) for each member, in the order of the keys.
  template <class F>
  void for_each_member(F&& f) const {
    if (!value_->is_object()) fail("an object");
    for (const auto& [key, value] : value_->items()) f(key, JsonField(value, where_ + " " + key));
  }

  /// Throws "where: expected <expected>, got <this value>".
  [[noreturn]] void fail(const std::string& expected, ErrorCode code = ErrorCode::kBadFile) const;

  /// Throws Error{kUnsupported} unless `served`; `expected` says what this version does.
  void serve_only(bool served, const std::string& expected) const {
    if (!served) fail(expected, ErrorCode::kUnsupported);
  }

 private:
  const nlohmann::json* value_;
  std::string where_;
};

}  // namespace rapt
