#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

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
  AddedTokens() { root_.fill(kNone); }

  /// Of two tokens of the same content the first one is found.
  void add(AddedToken token);

  using OnText = std::function<void(std::string_view stretch, bool at_start)>;
  using OnToken = std::function<void(std::int32_t token)>;

  /// Calls `on_token` for each token found and `on_text` for each stretch between them that is not
  /// empty, from left to right. `at_start` says whether the stretch begins the text.
  /// @cost O(length of the text times that of the longest token).
  void split(std::string_view text, const OnText& on_text, const OnToken& on_token) const;

 private:
  static constexpr std::int32_t kNone = -1;

  std::int32_t child(std::int32_t node, unsigned char byte) const;
  std::int32_t child_made(std::int32_t node, unsigned char byte);
  const AddedToken* longest_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;
  // A trie over bytes; a node is its index in ends_, and node 0 is the empty text.
  std::array<std::int32_t, 256> root_;
  std::unordered_map<std::uint64_t, std::int32_t> edges_;  // of other nodes, by node and byte
  std::vector<std::int32_t> ends_ = {kNone};               // index of the token that ends here
};

}  // namespace rapt
