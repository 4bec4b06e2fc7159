#include "attention/cascade.h"

#include <algorithm>

namespace rapt {
namespace {

/// The order of the sequences' lists of pages, each up to the first slot that lies nowhere; one that
/// is the beginning of another is first.
bool pages_precede(const KvTiles& cache, std::int64_t a, std::int64_t b) {
  const std::int64_t shared = cache.shared_slots(a, b);
  const std::int64_t slots_a = cache.first_missing(a, 0, cache.length(a)),
                     slots_b = cache.first_missing(b, 0, cache.length(b));
  if (shared >= std::min(slots_a, slots_b)) return slots_a < slots_b;
  return std::less<>()(cache.tile(a, 0, shared).k, cache.tile(b, 0, shared).k);
}

class Grouping {
 public:
  Grouping(const KvTiles& cache, std::span<const BatchEntry> entries,
           std::vector<std::int64_t> candidates)
      : order_(std::move(candidates)), shared_(order_.size()), whole_(order_.size()) {
    const auto sequence = [&](std::int64_t entry) {
      return entries[static_cast<std::size_t>(entry)].sequence;
    };
    std::ranges::sort(order_, [&](std::int64_t a, std::int64_t b) {
      return pages_precede(cache, sequence(a), sequence(b));
    });
    for (std::size_t n = 1; n < order_.size(); ++n)
      shared_[n] = cache.shared_slots(sequence(order_[n - 1]), sequence(order_[n])) / kChunk;
  }

  template <class WholeChunks>
  void look(std::span<const BatchEntry> entries, WholeChunks&& whole_chunks) {
    for (std::size_t n = 0; n < order_.size(); ++n)
      if (shared_[n] > 0 || (n + 1 < order_.size() && shared_[n + 1] > 0))
        whole_[n] = whole_chunks(entries[static_cast<std::size_t>(order_[n])]);
  }

  /// Groups the sequences [begin, end) of the order.
  void group(std::size_t begin, std::size_t end, std::vector<SharedChunks>& groups) const {
    std::size_t first = begin, last = begin;
    std::int64_t chunks = 0, most = 0;
    for (std::size_t i = begin; i < end; ++i) {
      std::int64_t common = whole_[i];
      for (std::size_t j = i + 1; j < end; ++j) {
        common = std::min({common, shared_[j], whole_[j]});
        if (common == 0) break;
        const std::int64_t saved = common * static_cast<std::int64_t>(j - i);
        if (saved <= most) continue;
        first = i, last = j, chunks = common, most = saved;
      }
    }
    if (chunks == 0) return;
    const auto at = order_.begin();
    SharedChunks& made = groups.emplace_back();
    made.chunks = chunks;
    made.entries.assign(at + static_cast<std::ptrdiff_t>(first),
                        at + static_cast<std::ptrdiff_t>(last + 1));
    std::ranges::sort(made.entries);
    group(begin, first, groups);
    group(last + 1, end, groups);
  }

 private:
  std::vector<std::int64_t> order_;   // entries, by their pages
  std::vector<std::int64_t> shared_;  // chunks that each shares with the one before it
  std::vector<std::int64_t> whole_;   // chunks that each sees in full
};

}  // namespace

std::vector<SharedChunks> shared_chunks(
    const KvTiles& cache, std::span<const BatchEntry> entries, std::vector<std::int64_t> candidates,
    const std::function<std::int64_t(const BatchEntry&)>& whole_chunks) {
  const std::size_t count = candidates.size();
  Grouping grouping(cache, entries, std::move(candidates));
  grouping.look(entries, whole_chunks);
  std::vector<SharedChunks> groups;
  grouping.group(0, count, groups);
  std::ranges::sort(groups, {}, [](const SharedChunks& g) { return g.entries.front(); });
  return groups;
}

}  // namespace rapt
