#include "serve/prefix_index.h"

#include <algorithm>

#include "base/splitmix64.h"

namespace rapt {

std::uint64_t page_hash(std::uint64_t before, TokenSpan page) {
  std::uint64_t hash = before;
  for (const std::int32_t token : page)
    hash = splitmix64(hash, static_cast<std::uint64_t>(token) + 1);
  return hash;
}

std::int64_t PrefixIndex::match(TokenSpan tokens) { return find(tokens, hashes_of(tokens)).tokens; }

std::int64_t PrefixIndex::fork(TokenSpan tokens) {
  const Match match = find(tokens, hashes_of(tokens));
  if (match.tokens == 0) return cache_.create();
  const std::int64_t sequence = cache_.fork(match.entry->sequence, match.tokens);
  entries_.splice(entries_.begin(), entries_, match.entry);
  return sequence;
}

void PrefixIndex::keep(TokenSpan tokens, std::int64_t sequence) {
  const std::vector<std::uint64_t> hashes = hashes_of(tokens);
  const std::int64_t whole = std::ssize(hashes) * cache_.shape().page_size;
  const Match match = find(tokens, hashes);
  if (match.tokens == whole) {
    if (whole > 0) entries_.splice(entries_.begin(), entries_, match.entry);
    return;
  }
  const TokenSpan kept = tokens.first(static_cast<std::size_t>(whole));
  Entries entry;  // where memory ends, nothing is left behind
  entry.push_back({-1, {kept.begin(), kept.end()}, hashes});
  entry.front().sequence = cache_.fork(sequence, whole);
  entries_.splice(entries_.begin(), entry);
  for (const std::uint64_t hash : hashes) pages_.emplace(hash, entries_.begin());
  // One that the new entry continues holds nothing more.
  if (match.tokens > 0 && match.tokens == std::ssize(match.entry->tokens)) erase(match.entry);
}

std::vector<std::int64_t> PrefixIndex::sequences() const {
  std::vector<std::int64_t> all;
  for (const Entry& entry : entries_) all.push_back(entry.sequence);
  return all;
}

bool PrefixIndex::evict() {
  if (entries_.empty()) return false;
  erase(std::prev(entries_.end()));
  return true;
}

std::vector<std::uint64_t> PrefixIndex::hashes_of(TokenSpan tokens) const {
  const auto page = static_cast<std::size_t>(cache_.shape().page_size);
  std::vector<std::uint64_t> hashes;
  for (std::uint64_t hash = 0; tokens.size() >= page; tokens = tokens.subspan(page))
    hashes.push_back(hash = hash_(hash, tokens.first(page)));
  return hashes;
}

PrefixIndex::Match PrefixIndex::find(TokenSpan tokens, const std::vector<std::uint64_t>& hashes) {
  for (std::int64_t pages = std::ssize(hashes); pages > 0; --pages) {
    const auto count = static_cast<std::size_t>(pages * cache_.shape().page_size);
    const auto [begin, end] = pages_.equal_range(hashes[static_cast<std::size_t>(pages - 1)]);
    for (auto at = begin; at != end; ++at) {
      const std::vector<std::int32_t>& kept = at->second->tokens;
      if (kept.size() >= count &&
          std::equal(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(count),
                     tokens.begin()))
        return {at->second, static_cast<std::int64_t>(count)};
    }
  }
  return {entries_.end(), 0};
}

void PrefixIndex::erase(Entries::iterator entry) {
  for (const std::uint64_t hash : entry->hashes) {
    const auto [begin, end] = pages_.equal_range(hash);
    const auto at =
        std::find_if(begin, end, [&](const auto& page) { return page.second == entry; });
    if (at != end) pages_.erase(at);
  }
  cache_.free(entry->sequence);
  entries_.erase(entry);
}

}  // namespace rapt
