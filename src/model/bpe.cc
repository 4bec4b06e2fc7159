#include "model/bpe.h"

#include <queue>

#include "model/utf8.h"

namespace rapt {
namespace {

constexpr std::int64_t kNone = -1;

/// A token of the text so far, in a doubly linked list: merging takes the right one of a pair away.
struct Symbol {
  std::int32_t token;
  std::int64_t previous, next;
  bool alive = true;
};

/// A pair that may be merged, unless one of its tokens has changed since.
struct Candidate {
  std::int32_t rank;
  std::int64_t left;   // index of the left symbol
  std::uint64_t pair;  // the two tokens then
  std::int32_t merged;

  bool operator<(const Candidate& other) const {  // the queue's top is the greatest
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

class Merger {
 public:
  Merger(const BytePairEncoding& bpe, std::string_view text) : bpe_(bpe) {
    while (!text.empty()) {
      const std::string character(text.substr(0, first_utf8(text).bytes));
      text.remove_prefix(character.size());
      add(character);
    }
    for (std::int64_t n = 0; n < std::ssize(symbols_); ++n) consider(n);
  }

  void run() {
    while (!queue_.empty()) {
      const Candidate candidate = queue_.top();
      queue_.pop();
      if (still_holds(candidate)) merge(candidate);
    }
  }

  void append_to(std::vector<std::int32_t>& tokens) const {
    for (const Symbol& symbol : symbols_)
      if (symbol.alive) tokens.push_back(symbol.token);
  }

 private:
  void add(const std::string& character) {
    const auto found = bpe_.vocabulary.find(character);
    if (found != bpe_.vocabulary.end()) return add(found->second);
    for (const unsigned char byte : character) add(bpe_.byte_tokens[byte]);
  }

  void add(std::int32_t token) {
    const std::int64_t index = std::ssize(symbols_);
    if (index > 0) symbols_.back().next = index;
    symbols_.push_back({token, index - 1, kNone});
  }

  std::uint64_t pair_at(std::int64_t left) const {
    return BytePairEncoding::pair_key(symbols_[left].token, symbols_[symbols_[left].next].token);
  }

  void consider(std::int64_t left) {
    if (left == kNone || symbols_[left].next == kNone) return;
    const std::uint64_t pair = pair_at(left);
    const auto found = bpe_.merges.find(pair);
    if (found != bpe_.merges.end())
      queue_.push({found->second.rank, left, pair, found->second.token});
  }

  bool still_holds(const Candidate& c) const {
    const Symbol& left = symbols_[c.left];
    return left.alive && left.next != kNone && pair_at(c.left) == c.pair;
  }

  void merge(const Candidate& c) {
    Symbol& left = symbols_[c.left];
    Symbol& right = symbols_[left.next];
    left.token = c.merged;
    left.next = right.next;
    right.alive = false;
    if (left.next != kNone) symbols_[left.next].previous = c.left;
    consider(left.previous);
    consider(c.left);
  }

  const BytePairEncoding& bpe_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> queue_;
};

}  // namespace

void BytePairEncoding::encode(std::string_view text, std::vector<std::int32_t>& tokens) const {
  Merger merger(*this, text);
  merger.run();
  merger.append_to(tokens);
}

}  // namespace rapt
