#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/memory.h"

namespace rapt {

/// Pages of memory, counted, and the sequences that are made of them. It knows how many tokens a page
/// holds and nothing of what they are; errors name the PagedKvCache.
///
/// A page is taken full of zeros. A free one is full of 0xFF where assertions are on, NaN in every
/// floating-point type: who reads on in it is seen.
///
/// Beside its bytes a page has some words of flags, full of zeros as well. They lie together, since each
/// would be a miss of the cache in its page.
class PagePool {
 public:
  /// `pages` of `page_size` tokens each at most, fewer than 2^31.
  PagePool(std::size_t page_bytes, std::size_t page_flags, std::int64_t page_size,
           std::int64_t pages);

  /// As the functions of PagedKvCache.
  /// @{
  std::int64_t free_pages() const { return pages_ - in_use_; }
  std::int64_t sequences() const { return static_cast<std::int64_t>(sequences_.size()); }
  std::size_t allocated_bytes() const { return counts_.size() * page_bytes_; }
  std::int64_t create();
  std::int64_t fork(std::int64_t sequence, std::int64_t tokens);
  void free(std::int64_t sequence);
  bool has(std::int64_t sequence) const { return sequences_.contains(sequence); }
  std::int64_t pages_needed(std::int64_t sequence, std::int64_t tokens) const;
  std::int64_t pages_freed(std::span<const std::int64_t> sequences) const;
  void extend(std::int64_t sequence, std::int64_t tokens);
  void truncate(std::int64_t sequence, std::int64_t length);
  /// @}

  struct Sequence {
    std::vector<std::int32_t> pages;  ///< that hold its tokens, and no more
    std::int64_t length = 0;
  };

  /// @throws Error{kBadArgument} beginning with `where` if there is no such sequence.
  const Sequence& at(std::int64_t sequence, const char* where) const;

  /// The sequence; page number `page`. @pre They exist.
  const Sequence& at(std::int64_t sequence) const { return sequences_.find(sequence)->second; }
  std::byte* memory(std::int32_t page);

  /// Its flags; until the next `extend`.
  std::uint32_t* flags(std::int32_t page) {
    return flags_.data() + static_cast<std::size_t>(page) * page_flags_;
  }

  bool is_shared(std::int32_t page) const { return counts_[static_cast<std::size_t>(page)] > 1; }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { free_aligned(memory); }
  };
  using Memory = std::unique_ptr<std::byte, Free>;

  Sequence& find(std::int64_t sequence, const char* where);
  std::int64_t add(Sequence&& sequence);
  std::int64_t pages_needed(const Sequence& sequence, std::int64_t tokens) const;
  bool copies_last(const Sequence& sequence, std::int64_t tokens) const;
  void keep(Sequence& sequence, std::int64_t length) noexcept;

  void reserve(std::int64_t pages);  // so many can be taken then
  std::int32_t take() noexcept;
  void drop(std::int32_t page) noexcept;

  std::size_t page_bytes_, page_flags_;
  std::int64_t page_size_, pages_;
  std::int32_t pages_a_slab_;
  std::int32_t taken_ever_ = 0;  // pages from here on were never taken, and are still zeros
  std::int64_t in_use_ = 0;
  std::vector<Memory> slabs_;
  std::vector<std::uint32_t> flags_;  // of each page that has memory
  std::vector<std::int32_t> counts_;  // of each page that has memory: the sequences that share it
  std::vector<std::int32_t> free_;    // pages that were in use and are not
  std::unordered_map<std::int64_t, Sequence> sequences_;
  std::int64_t next_id_ = 0;
};

}  // namespace rapt
