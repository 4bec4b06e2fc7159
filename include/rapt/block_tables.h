#pragma once

#include <cstdint>

#include "rapt/kv_cache.h"
#include "rapt/tensor.h"

namespace rapt {

/// Keys and values in the pages of an inference engine, which keeps for each sequence a table of the
/// pages that it lies in. Nothing is copied, owned or allocated: pages and tables are read in each
/// run, and may change between two; a BatchPlan needs what it shares to stay shared.
///
///     key of slot s = k[table[sequence][s / page_size], s % page_size, kv head]
///
/// Any page size, and any strides: pages [pages, Hkv, page_size, D], or of keys and values together,
/// [pages, 2, page_size, Hkv, D], are views. `v` may be a view of `k`.
///
/// Streams (few rows a kv head) read pages of a multiple of 16 tokens where they lie, others are
/// packed a chunk at a time; a prefill packs what it sees once a kv head. `Plan::explain("kv")` says
/// which.
///
/// An entry that no visible slot needs may hold anything. In the place of what such an entry names,
/// page 0 may be read, hidden.
class BlockTables final : public KvTiles {
 public:
  /// Row i of the tables, sequence i: `entries` pages from `pages + i row_stride` on, of `lengths[i]`
  /// tokens; without lengths as many as the entries have room for.
  struct Tables {
    const std::int32_t* pages = nullptr;
    std::int64_t sequences = 0, entries = 0;
    std::int64_t row_stride = 0;
    const std::int32_t* lengths = nullptr;
  };

  /// @shape  k [pages, page_size, Hkv, D]   v [pages, page_size, Hkv, Dv]
  /// @dtype  f32, bf16 or f16, the same of both
  /// @throws Error{kBadShape, kBadArgument} naming the argument.
  BlockTables(const AnyConstTensor& k, const AnyConstTensor& v, const Tables& tables);

  Extents extents() const override;
  bool has(std::int64_t sequence) const override;
  std::int64_t length(std::int64_t sequence) const override;

  std::int64_t tile_slots() const override { return k_.extents[1]; }
  KvTile tile(std::int64_t sequence, std::int64_t kv_head, std::int64_t slot) const override;

  /// Two rows share the slots of the first entries in which they name the same pages.
  std::int64_t shared_slots(std::int64_t a, std::int64_t b) const override;

  /// A slot is missing if it has no entry, or one that is not within [0, pages).
  std::int64_t first_missing(std::int64_t sequence, std::int64_t begin,
                             std::int64_t end) const override;
  void refuse_missing(std::int64_t sequence, std::int64_t slot) const override;

 private:
  /// The page of a slot; -1 if there is none.
  std::int64_t page_of(std::int64_t sequence, std::int64_t slot) const;

  AnyConstTensor k_, v_;
  Tables tables_;
};

}  // namespace rapt
