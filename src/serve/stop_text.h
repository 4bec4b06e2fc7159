#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rapt/tokenizer.h"

namespace rapt {

/// The text that continues a prompt, token by token, up to the first of some stop strings. What may
/// be the beginning of one is held back until that is known.
class StopText {
 public:
  StopText(const Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
           std::vector<std::string> stops);

  /// Text that is certain once `token` is known.
  /// @throws Error{kBadArgument} if the tokenizer has no such token.
  std::string push(std::int32_t token) { return take(stream_.push(token)); }

  /// What is still held back, at the end.
  std::string finish();

  bool stopped() const { return stopped_; }  ///< at a stop string

 private:
  std::string take(const std::string& text);
  std::size_t possible_stop() const;

  TextStream stream_;
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace rapt
