#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <unordered_map>
#include <vector>

#include "rapt/paged_kv_cache.h"

namespace rapt {

using TokenSpan = std::span<const std::int32_t>;

/// Hash of a page's tokens and of all before them.
using PageHash = std::uint64_t (*)(std::uint64_t before, TokenSpan page);
std::uint64_t page_hash(std::uint64_t before, TokenSpan page);

/// Tokens whose keys and values a cache keeps for prompts that begin with them: forks of whole
/// pages, found by the hashes of their pages. Tokens decide, hashes only find.
class PrefixIndex {
 public:
  explicit PrefixIndex(PagedKvCache& cache, PageHash hash = page_hash)
      : cache_(cache), hash_(hash) {}

  /// Leading tokens of `tokens` that are kept: whole pages.
  std::int64_t match(TokenSpan tokens);

  /// A new sequence that shares them, and so counts as their use.
  std::int64_t fork(TokenSpan tokens);

  /// Keeps the whole pages of a sequence that holds `tokens`.
  void keep(TokenSpan tokens, std::int64_t sequence);

  /// What it holds in the cache.
  std::vector<std::int64_t> sequences() const;

  /// Forgets what has not been used for longest. False if nothing is kept.
  bool evict();

 private:
  struct Entry {
    std::int64_t sequence;
    std::vector<std::int32_t> tokens;
    std::vector<std::uint64_t> hashes;  // [pages]
  };
  using Entries = std::list<Entry>;  // the last used first
  struct Match {
    Entries::iterator entry;
    std::int64_t tokens;
  };

  std::vector<std::uint64_t> hashes_of(TokenSpan tokens) const;
  Match find(TokenSpan tokens, const std::vector<std::uint64_t>& hashes);
  void erase(Entries::iterator entry);

  PagedKvCache& cache_;
  PageHash hash_;
  Entries entries_;
  std::unordered_multimap<std::uint64_t, Entries::iterator> pages_;  // by hash, of every entry
};

}  // namespace rapt
