#include "attention/tiles.h"

#include <limits>

#include "base/round.h"

namespace rapt {
namespace {

/// Coverage of rows [begin, end) by one chunk, and the slots outside of which they see nothing.
class TileClassifier {
 public:
  TileClassifier(const Problem& problem, const RowOrder& order, std::int64_t b,
                 std::int64_t kv_head)
      : mask_(problem.mask.node()),
        order_(order),
        sequence_(problem, b),
        first_head_(kv_head * problem.group()) {}

  Range bounds(std::int64_t begin, std::int64_t end) const {
    Range all{sequence_.slots(), 0};
    order_.for_each_span(begin, end, [&](std::int64_t first, std::int64_t last, std::int64_t g) {
      const Range queries = not_padding(first, last);
      if (queries.size() == 0 || sequence_.slots() == 0) return;
      const Range seen =
          mask_.bounds({sequence_, first_head_ + g, queries, {0, sequence_.slots()}});
      if (seen.size() == 0) return;
      all = {std::min(all.begin, seen.begin), std::max(all.end, seen.end)};
    });
    return all;
  }

  /// Slots that all rows see, for certain.
  Range full(std::int64_t begin, std::int64_t end) const {
    Range all{0, sequence_.slots()};
    order_.for_each_span(begin, end, [&](std::int64_t first, std::int64_t last, std::int64_t g) {
      const Range queries = not_padding(first, last);
      if (queries.size() < last - first) all = {};
      if (all.size() == 0) return;
      const Range seen = mask_.full({sequence_, first_head_ + g, queries, {0, sequence_.slots()}});
      all = {std::max(all.begin, seen.begin), std::min(all.end, seen.end)};
    });
    return all;
  }

  Coverage classify(std::int64_t begin, std::int64_t end, std::int64_t chunk) const {
    const Range slots{chunk * kChunkKeys, std::min((chunk + 1) * kChunkKeys, sequence_.slots())};
    bool hidden = true, full = slots.size() % kGroupKeys == 0;
    order_.for_each_span(begin, end, [&](std::int64_t first, std::int64_t last, std::int64_t g) {
      const Range queries = not_padding(first, last);
      const Coverage coverage = queries.size() == 0
                                    ? Coverage::kHidden
                                    : mask_.classify({sequence_, first_head_ + g, queries, slots});
      hidden = hidden && coverage == Coverage::kHidden;
      full = full && coverage == Coverage::kFull && queries.size() == last - first;
    });
    return hidden ? Coverage::kHidden : full ? Coverage::kFull : Coverage::kPartial;
  }

 private:
  Range not_padding(std::int64_t first, std::int64_t last) const {
    return {std::max(first, sequence_.queries.begin), std::min(last, sequence_.queries.end)};
  }

  const MaskNode& mask_;
  const RowOrder& order_;
  MaskSequence sequence_;
  std::int64_t first_head_;
};

}  // namespace

TileList::TileList(const Problem& problem)
    : heads_(problem.mask.node().varies_by_head() ? problem.kv_heads : 1),
      tiles_(ceil_div(problem.q_tokens * problem.group(), kTileQueries)) {
  const RowOrder order(problem);
  first_.reserve(static_cast<std::size_t>(problem.batch * heads_ * tiles_ + 1));
  for (std::int64_t b = 0; b < problem.batch; ++b)
    for (std::int64_t head = 0; head < heads_; ++head) add_list(problem, order, b, head);
  first_.push_back(std::ssize(runs_));
}

void TileList::add_list(const Problem& problem, const RowOrder& order, std::int64_t b,
                        std::int64_t kv_head) {
  const TileClassifier classifier(problem, order, b, kv_head);
  const std::int64_t chunks = chunks_of(problem.kv_range(b).size());
  const std::int64_t heads = heads_ == 1 ? problem.kv_heads : 1;
  for (std::int64_t tile = 0; tile < tiles_; ++tile) {
    const std::int64_t begin = tile * kTileQueries;
    const std::int64_t end = std::min<std::int64_t>(begin + kTileQueries, order.rows());
    const Range bounds = classifier.bounds(begin, end);
    const Range full = classifier.full(begin, end);
    first_.push_back(std::ssize(runs_));
    std::int64_t counts[3] = {chunks, 0, 0};
    std::int64_t next = 0;
    for (std::int64_t chunk = bounds.begin / kChunkKeys; chunk < chunks_of(bounds.end);
         chunk = next) {
      next = chunk + 1;
      Coverage coverage = Coverage::kFull;
      if (chunk * kChunkKeys >= full.begin && next * kChunkKeys <= full.end)
        next = full.end / kChunkKeys;
      else
        coverage = classifier.classify(begin, end, chunk);
      if (coverage == Coverage::kHidden) continue;
      counts[0] -= next - chunk;
      counts[static_cast<std::size_t>(coverage)] += next - chunk;
      const bool goes_on = std::ssize(runs_) > first_.back() && runs_.back().end == chunk &&
                           runs_.back().coverage == coverage;
      if (goes_on)
        runs_.back().end = next;
      else
        runs_.push_back({chunk, next, coverage});
    }
    for (int kind = 0; kind < 3; ++kind) counts_[kind] += counts[kind] * heads;
  }
}

std::span<const TileRun> TileList::runs(std::int64_t sequence, std::int64_t kv_head,
                                        std::int64_t row) const {
  const std::int64_t tile = list_of(sequence, kv_head) * tiles_ + row / kTileQueries;
  const TileRun* all = runs_.data();
  return {all + first_[static_cast<std::size_t>(tile)],
          all + first_[static_cast<std::size_t>(tile) + 1]};
}

Range TileList::chunks(std::int64_t sequence, std::int64_t kv_head, std::int64_t begin,
                       std::int64_t end) const {
  Range seen;
  for (std::int64_t row = begin; row < end; row += kTileQueries) {
    const std::span<const TileRun> of_tile = runs(sequence, kv_head, row);
    if (of_tile.empty()) continue;
    const Range tile{of_tile.front().begin, of_tile.back().end};
    seen = seen.size() == 0 ? tile
                            : Range{std::min(seen.begin, tile.begin), std::max(seen.end, tile.end)};
  }
  return seen;
}

std::int64_t TileList::full_prefix(std::int64_t sequence) const {
  std::int64_t chunks = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t head = 0; head < heads_; ++head)
    for (std::int64_t tile = 0; tile < tiles_; ++tile) {
      const std::span<const TileRun> of_tile = runs(sequence, head, tile * kTileQueries);
      const bool begins = !of_tile.empty() && of_tile.front().begin == 0 &&
                          of_tile.front().coverage == Coverage::kFull;
      chunks = std::min(chunks, begins ? of_tile.front().end : 0);
    }
  return chunks;
}

KeyBits visible_keys(const MaskNode& mask, const MaskRow& row, std::int64_t chunk) {
  KeyBits bits{};
  if (row.is_padding()) return bits;
  const std::int64_t first = chunk * kChunkKeys;
  mask.visible(row, first, bits);
  if (first + kChunkKeys > row.sequence.slots()) {
    KeyBits exist{};
    set_slots(exist, first, 0, row.sequence.slots());
    for (std::size_t n = 0; n < std::size(bits.words); ++n) bits.words[n] &= exist.words[n];
  }
  return bits;
}

KeyBits seen_keys(const Problem& problem, std::int64_t b, std::int64_t chunk) {
  const MaskSequence sequence(problem, b);
  const MaskNode& mask = problem.mask.node();
  const std::int64_t heads = mask.varies_by_head() ? problem.q_heads : 1;
  KeyBits seen{};
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t i = sequence.queries.begin; i < sequence.queries.end; ++i) {
      const KeyBits bits = visible_keys(mask, {sequence, h, i}, chunk);
      for (int n = 0; n < kChunkKeys / 64; ++n) seen.words[n] |= bits.words[n];
    }
  return seen;
}

bool see_the_same(const MaskNode& mask, const MaskRow& a, const MaskRow& b) {
  return a.is_padding() == b.is_padding() && (a.is_padding() || mask.same(a, b));
}

}  // namespace rapt
