#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "model/json.h"
#include "model/tokenizer/normalizer.h"
#include "model/tokenizer/regex.h"

namespace rapt {

/// Cuts a normalised text into the words that are encoded each for itself: steps, each applied to
/// every word of the step before it.
class PreTokenizer {
 public:
  /// Takes one word.
  using Sink = std::function<void(std::string_view word)>;

  /// null, a pre-tokenizer, or a Sequence of them.
  /// @throws Error{kBadFile, kUnsupported} naming the field.
  static PreTokenizer parse(const JsonField& field);

  /// Calls `sink` for each word of `text` that is not empty, from left to right. `at_start` says
  /// that nothing is before `text`.
  ///
  /// @pre    `text` is UTF-8.
  /// @throws Error{kUnsupported} as Regex::matches.
  void split(std::string_view text, bool at_start, const Sink& sink) const {
    run(0, text, at_start, sink);
  }

 private:
  /// Cuts at the matches of a pattern or, inverted, between them; `delimiter` says what becomes of
  /// what is cut at.
  struct Cut {
    enum Delimiter { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
    Regex pattern;
    Delimiter delimiter;
    bool inverted = false;

    std::vector<TextSpan> operator()(std::string_view text) const;
  };
  /// Puts `prefix` before a word that does not begin with it.
  struct Prefix {
    std::string prefix;
    bool only_at_start = false;
  };
  /// Bytes become the characters that stand for them.
  struct Bytes {};
  using Step = std::variant<Cut, Prefix, Replace, Bytes>;

  static Cut::Delimiter parse_delimiter(const JsonField& field);
  void add(const JsonField& field);
  void add_byte_level(const JsonField& field);
  void add_metaspace(const JsonField& field);

  void run(std::size_t step, std::string_view text, bool at_start, const Sink& sink) const;

  std::vector<Step> steps_;
};

}  // namespace rapt
