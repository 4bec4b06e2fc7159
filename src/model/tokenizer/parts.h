#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "model/json.h"

namespace rapt {

// What the parts of a tokenizer.json have in common: each is null, or an object whose `type` says
// what it is, or a Sequence of such objects.

inline const std::string& type_of(const JsonField& part) { return part["type"].string(); }

/// The elements of a Sequence, or the one part that is no Sequence, or none for null. A Sequence
/// within a Sequence is taken apart, too.
inline std::vector<JsonField> sequence(const JsonField& part, const char* list) {
  if (part.is_null()) return {};
  if (type_of(part) != "Sequence") return {part};
  std::vector<JsonField> all;
  const JsonField array = part[list];
  for (std::size_t n = 0; n < array.array_size(); ++n)
    for (JsonField& inner : sequence(array.at(n), list)) all.push_back(std::move(inner));
  return all;
}

/// Member `key`, or `absent` where it is absent or null.
inline bool flag(const JsonField& part, const char* key, bool absent) {
  return part.has(key) ? part[key].boolean() : absent;
}

/// Refuses a member that is anything but absent, null, false, 0 or "": what has no effect.
inline void serve_only_off(const JsonField& part, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (!part.has(key)) continue;
    const nlohmann::json& value = part[key].value();
    part[key].serve_only(value == false || value == 0 || value == "", "nothing that has effect");
  }
}

/// Whether a Metaspace puts its character before no text. Older files say so by add_prefix_space.
inline bool metaspace_is_never(const JsonField& part) {
  const bool never = !flag(part, "add_prefix_space", true);
  if (!part.has("prepend_scheme")) return never;
  const JsonField scheme = part["prepend_scheme"];
  const std::string& name = scheme.string();
  if (name != "always" && name != "first" && name != "never") scheme.fail("always, first or never");
  if (never && name != "never") scheme.fail("never, as add_prefix_space false has it");
  return name == "never";
}

}  // namespace rapt
