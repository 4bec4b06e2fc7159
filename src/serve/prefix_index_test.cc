// Prefixes: the longest whole pages are found, tokens decide and not hashes, the longest unused
// goes.
#include "serve/prefix_index.h"

#include <gtest/gtest.h>

#include <numeric>

namespace rapt::test {
namespace {

using Tokens = std::vector<std::int32_t>;

PagedKvCache small_cache() { return PagedKvCache({.head_dim = 4, .page_size = 16, .pages = 20}); }

Tokens counted(std::int32_t first, std::int64_t count) {
  Tokens tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

Tokens operator+(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// Keeps `tokens` as those of a sequence that ends then.
void keep(PagedKvCache& cache, PrefixIndex& index, const Tokens& tokens) {
  const std::int64_t sequence = cache.create();
  cache.extend(sequence, std::ssize(tokens));
  index.keep(tokens, sequence);
  cache.free(sequence);
}

TEST(PrefixIndex, FindsTheLongestWholePages) {
  PagedKvCache cache = small_cache();
  PrefixIndex index(cache);
  const Tokens system = counted(0, 32), a = system + counted(100, 20),
               b = system + counted(200, 40);
  keep(cache, index, a);
  keep(cache, index, b);
  EXPECT_EQ(cache.free_pages(), 20 - 3 - 4);  // each keeps its own computation of `system`
  EXPECT_EQ(index.match(a), 48);
  EXPECT_EQ(index.match(b), 64);
  EXPECT_EQ(index.match(b + counted(7, 90)), 64);
  EXPECT_EQ(index.match(system + counted(300, 50)), 32);
  EXPECT_EQ(index.match(counted(0, 31)), 16);
  EXPECT_EQ(index.match(counted(0, 15)), 0);
  EXPECT_EQ(index.match(counted(1, 40)), 0);
  EXPECT_EQ(index.match(counted(100, 20)), 0) << "only from the beginning";

  const std::int64_t fork = index.fork(b);
  EXPECT_EQ(cache.length(fork), 64);
  EXPECT_EQ(cache.free_pages(), 20 - 3 - 4);
  EXPECT_EQ(cache.length(index.fork(counted(500, 40))), 0);
}

TEST(PrefixIndex, WhatContinuesAnEntryTakesItsPlace) {
  PagedKvCache cache = small_cache();
  PrefixIndex index(cache);
  const std::int64_t sequence = cache.create();
  for (std::int64_t tokens : {10, 20, 40, 45, 70}) {
    cache.extend(sequence, tokens - cache.length(sequence));
    index.keep(counted(0, tokens), sequence);
    EXPECT_EQ(cache.sequences(), tokens < 16 ? 1 : 2) << tokens;
    EXPECT_EQ(index.match(counted(0, 100)), tokens / 16 * 16);
  }
  cache.free(sequence);
  EXPECT_EQ(cache.free_pages(), 16);
  EXPECT_TRUE(index.evict());
  EXPECT_FALSE(index.evict());
  EXPECT_EQ(cache.free_pages(), 20);
}

TEST(PrefixIndex, TheLongestUnusedIsForgottenFirst) {
  PagedKvCache cache = small_cache();
  PrefixIndex index(cache);
  const Tokens a = counted(0, 16), b = counted(100, 16), c = counted(200, 16);
  for (const Tokens& tokens : {a, b, c}) keep(cache, index, tokens);
  cache.free(index.fork(a));
  keep(cache, index, b);
  index.match(c);  // looks, and does not use
  for (const Tokens& tokens : {c, a, b}) {
    EXPECT_EQ(index.match(tokens), 16);
    EXPECT_TRUE(index.evict());
    EXPECT_EQ(index.match(tokens), 0);
  }
  EXPECT_EQ(cache.sequences(), 0);
}

TEST(PrefixIndex, TokensDecideWhereHashesAreEqual) {
  PagedKvCache cache = small_cache();
  PrefixIndex index(cache, [](std::uint64_t, TokenSpan) { return std::uint64_t{1}; });
  const Tokens a = counted(0, 48), b = counted(100, 32);
  keep(cache, index, a);
  keep(cache, index, b);
  EXPECT_EQ(index.match(a), 48);
  EXPECT_EQ(index.match(b), 32);
  EXPECT_EQ(index.match(counted(0, 32) + counted(500, 16)), 32);
  EXPECT_EQ(index.match(counted(300, 48)), 0);
  EXPECT_TRUE(index.evict());
  EXPECT_EQ(index.match(a), 0);
  EXPECT_EQ(index.match(b), 32);
}

TEST(PrefixIndex, HashesAreOfThePagesBeforeToo) {
  const Tokens page = counted(0, 16), other = counted(1, 16);
  EXPECT_NE(page_hash(0, page), page_hash(0, other));
  EXPECT_NE(page_hash(page_hash(0, page), page), page_hash(page_hash(0, other), page));
}

}  // namespace
}  // namespace rapt::test
