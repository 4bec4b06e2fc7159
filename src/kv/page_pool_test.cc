#include "kv/page_pool.h"

#include <gtest/gtest.h>

#include <cstring>

#include "rejects.h"
#include "util.h"

namespace rapt::test {
namespace {

constexpr std::size_t kBytes = 64, kFlags = 2;

std::byte* last_page(PagePool& pool, std::int64_t sequence) {
  return pool.memory(pool.at(sequence).pages.back());
}

bool is_full_of(const std::byte* page, int value) {
  for (std::size_t n = 0; n < kBytes; ++n)
    if (page[n] != static_cast<std::byte>(value)) return false;
  return true;
}

TEST(PagePool, TakesPagesAsTheyAreNeeded) {
  PagePool pool(kBytes, kFlags, 16, 5);
  EXPECT_EQ(pool.allocated_bytes(), 0u);
  const std::int64_t a = pool.create();
  EXPECT_EQ(pool.free_pages(), 5);
  EXPECT_EQ(pool.pages_needed(a, 0), 0);
  EXPECT_EQ(pool.pages_needed(a, 16), 1);
  EXPECT_EQ(pool.pages_needed(a, 17), 2);
  pool.extend(a, 17);
  EXPECT_EQ(pool.free_pages(), 3);
  EXPECT_EQ(pool.pages_needed(a, 15), 0);
  EXPECT_EQ(pool.allocated_bytes(), 5 * kBytes);  // one slab
  pool.truncate(a, 16);
  EXPECT_EQ(pool.free_pages(), 4);
  EXPECT_EQ(pool.at(a).length, 16);
  pool.free(a);
  EXPECT_EQ(pool.free_pages(), 5);
  EXPECT_EQ(pool.sequences(), 0);
  EXPECT_FALSE(pool.has(a));
}

TEST(PagePool, AllocatesSlabBySlab) {
  constexpr std::size_t kLarge = std::size_t{3} << 20;  // two to a slab
  PagePool pool(kLarge, kFlags, 16, 3);
  const std::int64_t a = pool.create();
  pool.extend(a, 1);
  EXPECT_EQ(pool.allocated_bytes(), 2 * kLarge);
  pool.extend(a, 16);
  EXPECT_EQ(pool.allocated_bytes(), 2 * kLarge);
  pool.extend(a, 16);
  EXPECT_EQ(pool.allocated_bytes(), 3 * kLarge);
  for (const std::int32_t page : pool.at(a).pages) std::memset(pool.memory(page), page, kLarge);
  for (const std::int32_t page : pool.at(a).pages) EXPECT_TRUE(is_full_of(pool.memory(page), page));
}

TEST(PagePool, AForkSharesPagesUntilItIsExtended) {
  PagePool pool(kBytes, kFlags, 16, 4);
  const std::int64_t a = pool.create();
  pool.extend(a, 20);
  std::memset(last_page(pool, a), 42, kBytes);
  pool.flags(pool.at(a).pages[1])[1] = 7;
  const std::int64_t b = pool.fork(a, 18);
  EXPECT_EQ(pool.free_pages(), 2);
  EXPECT_EQ(pool.at(b).pages, pool.at(a).pages);
  EXPECT_TRUE(pool.is_shared(pool.at(a).pages[1]));
  EXPECT_EQ(pool.pages_needed(b, 0), 0);
  EXPECT_EQ(pool.pages_needed(b, 1), 1);
  pool.extend(b, 1);
  EXPECT_NE(last_page(pool, b), last_page(pool, a));
  EXPECT_TRUE(is_full_of(last_page(pool, b), 42));
  EXPECT_EQ(pool.flags(pool.at(b).pages[1])[1], 7u);
  EXPECT_FALSE(pool.is_shared(pool.at(a).pages[1]));
  EXPECT_TRUE(pool.is_shared(pool.at(a).pages[0]));
  pool.free(a);
  EXPECT_EQ(pool.free_pages(), 2);
  EXPECT_FALSE(pool.is_shared(pool.at(b).pages[0]));
}

TEST(PagePool, PagesAreFreedByAllWhoShareThem) {
  PagePool pool(kBytes, kFlags, 16, 6);
  const std::int64_t a = pool.create();
  pool.extend(a, 40);
  const std::int64_t b = pool.fork(a, 32);
  pool.extend(b, 1);
  const auto freed = [&](std::vector<std::int64_t> sequences) {
    return pool.pages_freed(sequences);
  };
  EXPECT_EQ(freed({}), 0);
  EXPECT_EQ(freed({a}), 1);
  EXPECT_EQ(freed({b}), 1);
  EXPECT_EQ(freed({a, b}), 4);
  EXPECT_TRUE(rejects("PagedKvCache.pages_freed sequence", kArgument, [&] { freed({7}); }));
}

TEST(PagePool, AFullSharedPageIsNotCopied) {
  PagePool pool(kBytes, kFlags, 16, 4);
  const std::int64_t a = pool.create();
  pool.extend(a, 32);
  const std::int64_t b = pool.fork(a, 16);
  EXPECT_EQ(pool.pages_needed(b, 16), 1);
  pool.extend(b, 16);
  EXPECT_EQ(pool.at(b).pages[0], pool.at(a).pages[0]);
}

TEST(PagePool, PagesAreTakenFullOfZeros) {
  PagePool pool(kBytes, kFlags, 16, 1);
  const std::int64_t a = pool.create();
  pool.extend(a, 1);
  std::byte* page = last_page(pool, a);
  EXPECT_TRUE(is_full_of(page, 0));
  std::memset(page, 42, kBytes);
  pool.flags(0)[1] = 7;
  pool.truncate(a, 0);
#ifndef NDEBUG
  EXPECT_TRUE(is_full_of(page, 0xFF));
#endif
  pool.extend(a, 1);
  EXPECT_EQ(last_page(pool, a), page);
  EXPECT_TRUE(is_full_of(page, 0));
  EXPECT_EQ(pool.flags(0)[1], 0u);
}

TEST(PagePool, Refuses) {
  PagePool pool(kBytes, kFlags, 16, 2);
  const std::int64_t a = pool.create();
  pool.extend(a, 20);
  const std::int64_t b = pool.fork(a, 20);
  EXPECT_EQ(error_of([&] { pool.extend(b, 1); }),
            "PagedKvCache.extend: expected at most 0 more pages, got 1");
  EXPECT_EQ(error_of([&] { pool.extend(b, -1); }),
            "PagedKvCache.extend tokens: expected 0 to 2^40, got -1");
  EXPECT_EQ(error_of([&] { pool.pages_needed(b, -1); }),
            "PagedKvCache.pages_needed tokens: expected 0 to 2^40, got -1");
  EXPECT_EQ(error_of([&] { pool.fork(a, 21); }),
            "PagedKvCache.fork tokens: expected 0 to 20, got 21");
  EXPECT_EQ(error_of([&] { pool.truncate(a, 21); }),
            "PagedKvCache.truncate length: expected 0 to 20, got 21");
  pool.free(b);
  EXPECT_EQ(error_of([&] { pool.free(b); }),
            "PagedKvCache.free sequence: expected a sequence that lives, got 1");
  EXPECT_EQ(pool.create(), 2);  // ids are not used again
}

}  // namespace
}  // namespace rapt::test
