#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer/byte_trie.h"

namespace rapt {

/// A token that is found in the text itself, not made by merges.
struct AddedToken {
  std::string content;
  std::int32_t token;
  bool single_word = false;  ///< only where no letter of a word touches it
  bool left_strip = false;   ///< takes the spaces before it
  bool right_strip = false;  ///< takes the spaces after it
};

/// Finds added tokens in a text: the leftmost, the longest of those.
class AddedTokens {
 public:
  /// Of two tokens of the same content the first one is found.
  void add(AddedToken token);

  using OnText = std::function<void(std::string_view stretch, bool at_start)>;
  using OnToken = std::function<void(std::int32_t token)>;

  /// Calls `on_token` for each token found and `on_text` for each stretch between them that is not
  /// empty, from left to right. `at_start` says whether the stretch begins the text.
  /// @cost O(length of the text times that of the longest token).
  void split(std::string_view text, const OnText& on_text, const OnToken& on_token) const;

 private:
  const AddedToken* longest_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;
  ByteTrie indices_;  // by content
};

}  // namespace rapt
