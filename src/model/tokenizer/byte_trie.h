#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace rapt {

/// A map from texts to numbers that finds every key a text begins with.
class ByteTrie {
 public:
  static constexpr std::int32_t kNone = -1;

  ByteTrie() { root_.fill(kNone); }

  /// The number of `key`, kNone until it is given one.
  /// @pre `key` is not empty.
  std::int32_t& operator[](std::string_view key) {
    std::int32_t node = 0;
    for (const char byte : key) node = child_made(node, static_cast<unsigned char>(byte));
    return numbers_[node];
  }

  /// Calls f(bytes, number) for each key of so many bytes that `text` begins with, shortest first.
  /// @cost O(length of the longest such key).
  template <class F>
  void for_each_prefix(std::string_view text, F&& f) const {
    std::int32_t node = 0;
    for (std::size_t n = 0; n < text.size(); ++n) {
      node = child(node, static_cast<unsigned char>(text[n]));
      if (node == kNone) return;
      if (numbers_[node] != kNone) f(n + 1, numbers_[node]);
    }
  }

 private:
  static std::uint64_t edge(std::int32_t node, unsigned char byte) {
    return static_cast<std::uint64_t>(node) << 8 | byte;
  }

  std::int32_t child(std::int32_t node, unsigned char byte) const {
    if (node == 0) return root_[byte];
    const auto found = edges_.find(edge(node, byte));
    return found == edges_.end() ? kNone : found->second;
  }

  std::int32_t child_made(std::int32_t node, unsigned char byte) {
    const std::int32_t found = child(node, byte);
    if (found != kNone) return found;
    const auto made = static_cast<std::int32_t>(numbers_.size());
    numbers_.push_back(kNone);
    if (node == 0)
      root_[byte] = made;
    else
      edges_.emplace(edge(node, byte), made);
    return made;
  }

  // A node is its index in numbers_, and node 0 is the empty text.
  std::array<std::int32_t, 256> root_;
  std::unordered_map<std::uint64_t, std::int32_t> edges_;  // of other nodes, by node and byte
  std::vector<std::int32_t> numbers_ = {kNone};
};

}  // namespace rapt
