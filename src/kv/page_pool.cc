#include "kv/page_pool.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/check.h"
#include "base/round.h"

namespace rapt {

/// Slabs are of huge pages, however small a page is.
PagePool::PagePool(std::size_t page_bytes, std::size_t page_flags, std::int64_t page_size,
                   std::int64_t pages)
    : page_bytes_(page_bytes),
      page_flags_(page_flags),
      page_size_(page_size),
      pages_(pages),
      pages_a_slab_(static_cast<std::int32_t>(
          std::max<std::size_t>((std::size_t{8} << 20) / page_bytes, 1))) {}

const PagePool::Sequence& PagePool::at(std::int64_t sequence, const char* where) const {
  const auto found = sequences_.find(sequence);
  require(found != sequences_.end(), ErrorCode::kBadArgument, where, "a sequence that lives",
          sequence);
  return found->second;
}

PagePool::Sequence& PagePool::find(std::int64_t sequence, const char* where) {
  return const_cast<Sequence&>(at(sequence, where));
}

std::byte* PagePool::memory(std::int32_t page) {
  std::byte* slab = slabs_[static_cast<std::size_t>(page / pages_a_slab_)].get();
  return slab + static_cast<std::size_t>(page % pages_a_slab_) * page_bytes_;
}

std::int64_t PagePool::create() {
  return with_memory("PagedKvCache.create", [&] { return add({}); });
}

std::int64_t PagePool::fork(std::int64_t sequence, std::int64_t tokens) {
  const Sequence& from = at(sequence, "PagedKvCache.fork sequence");
  require(tokens >= 0 && tokens <= from.length, ErrorCode::kBadArgument, "PagedKvCache.fork tokens",
          "0 to " + std::to_string(from.length), tokens);
  return with_memory("PagedKvCache.fork", [&] {
    const auto first = from.pages.begin();
    const std::int64_t id = add({{first, first + ceil_div(tokens, page_size_)}, tokens});
    for (const std::int32_t page : at(id).pages) ++counts_[static_cast<std::size_t>(page)];
    return id;
  });
}

std::int64_t PagePool::add(Sequence&& sequence) {
  sequences_.emplace(next_id_, std::move(sequence));
  return next_id_++;
}

void PagePool::free(std::int64_t sequence) {
  keep(find(sequence, "PagedKvCache.free sequence"), 0);
  sequences_.erase(sequence);
}

void PagePool::truncate(std::int64_t sequence, std::int64_t length) {
  Sequence& cut = find(sequence, "PagedKvCache.truncate sequence");
  require(length >= 0 && length <= cut.length, ErrorCode::kBadArgument,
          "PagedKvCache.truncate length", "0 to " + std::to_string(cut.length), length);
  keep(cut, length);
}

std::int64_t PagePool::pages_needed(std::int64_t sequence, std::int64_t tokens) const {
  const Sequence& longer = at(sequence, "PagedKvCache.pages_needed sequence");
  require_extent(tokens, 0, "PagedKvCache.pages_needed tokens");
  return pages_needed(longer, tokens);
}

std::int64_t PagePool::pages_freed(std::span<const std::int64_t> sequences) const {
  return with_memory("PagedKvCache.pages_freed", [&] {
    std::unordered_map<std::int32_t, std::int32_t> holders;  // of each page, among them
    for (const std::int64_t sequence : sequences)
      for (const std::int32_t page : at(sequence, "PagedKvCache.pages_freed sequence").pages)
        ++holders[page];
    return static_cast<std::int64_t>(std::ranges::count_if(holders, [&](const auto& held) {
      return held.second == counts_[static_cast<std::size_t>(held.first)];
    }));
  });
}

std::int64_t PagePool::pages_needed(const Sequence& sequence, std::int64_t tokens) const {
  const std::int64_t more = ceil_div(sequence.length + tokens, page_size_) -
                            static_cast<std::int64_t>(sequence.pages.size());
  return more + (copies_last(sequence, tokens) ? 1 : 0);
}

bool PagePool::copies_last(const Sequence& sequence, std::int64_t tokens) const {
  return tokens > 0 && sequence.length % page_size_ != 0 && is_shared(sequence.pages.back());
}

void PagePool::extend(std::int64_t sequence, std::int64_t tokens) {
  Sequence& longer = find(sequence, "PagedKvCache.extend sequence");
  require_extent(tokens, 0, "PagedKvCache.extend tokens");
  const std::int64_t needed = pages_needed(longer, tokens);
  if (needed > free_pages())
    require(false, ErrorCode::kOutOfMemory, "PagedKvCache.extend",
            "at most " + std::to_string(free_pages()) + " more pages", needed);
  const std::int64_t length = longer.length + tokens;
  const auto pages = static_cast<std::size_t>(ceil_div(length, page_size_));
  with_memory("PagedKvCache.extend", [&] {
    if (pages > longer.pages.capacity())
      longer.pages.reserve(std::max(pages, 2 * longer.pages.capacity()));
    reserve(needed);
  });
  if (copies_last(longer, tokens)) {
    std::int32_t& last = longer.pages.back();
    const std::int32_t copy = take();
    std::memcpy(memory(copy), memory(last), page_bytes_);
    std::copy_n(flags(last), page_flags_, flags(copy));
    drop(last);
    last = copy;
  }
  while (longer.pages.size() < pages) longer.pages.push_back(take());
  longer.length = length;
}

void PagePool::reserve(std::int64_t pages) {
  const auto available = [&] {
    return static_cast<std::int64_t>(free_.size() + counts_.size()) - taken_ever_;
  };
  while (available() < pages) {
    const auto first = static_cast<std::int64_t>(counts_.size());
    const std::int64_t end = std::min(first + pages_a_slab_, pages_);
    const auto count = static_cast<std::size_t>(end - first);
    counts_.reserve(counts_.size() + count);
    free_.reserve(counts_.size() + count);
    flags_.resize((counts_.size() + count) * page_flags_);
    Memory slab(static_cast<std::byte*>(allocate_aligned(count * page_bytes_)));
    slabs_.push_back(std::move(slab));
    counts_.resize(counts_.size() + count);
  }
}

std::int32_t PagePool::take() noexcept {
  std::int32_t page = taken_ever_;
  if (free_.empty()) {
    ++taken_ever_;
  } else {
    page = free_.back();
    free_.pop_back();
    std::memset(memory(page), 0, page_bytes_);
    std::fill_n(flags(page), page_flags_, 0);
  }
  counts_[static_cast<std::size_t>(page)] = 1;
  ++in_use_;
  return page;
}

void PagePool::drop(std::int32_t page) noexcept {
  if (--counts_[static_cast<std::size_t>(page)] > 0) return;
#ifndef NDEBUG
  std::memset(memory(page), 0xFF, page_bytes_);
#endif
  free_.push_back(page);
  --in_use_;
}

void PagePool::keep(Sequence& sequence, std::int64_t length) noexcept {
  const auto pages = static_cast<std::size_t>(ceil_div(length, page_size_));
  for (; sequence.pages.size() > pages; sequence.pages.pop_back()) drop(sequence.pages.back());
  sequence.length = length;
}

}  // namespace rapt
