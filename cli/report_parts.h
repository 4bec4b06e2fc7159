#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "rapt/statistics.h"

namespace rapt::cli {

/// As printf writes it, up to 199 characters.
template <class... Values>
std::string formatted(const char* format, const Values&... values) {
  char text[200];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

/// A number, or null.
inline nlohmann::ordered_json optional_json(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

/// [low, high], or null.
inline nlohmann::ordered_json optional_json(const std::optional<Interval>& value) {
  return value ? nlohmann::ordered_json({value->low, value->high}) : nlohmann::ordered_json();
}

}  // namespace rapt::cli
