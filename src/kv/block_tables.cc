#include "rapt/block_tables.h"

#include <algorithm>
#include <string>

#include "base/check.h"

namespace rapt {

BlockTables::BlockTables(const AnyConstTensor& k, const AnyConstTensor& v, const Tables& tables)
    : k_(k), v_(v), tables_(tables) {
  const Dims& d = k.extents;
  require_extent(d[0], 1, "BlockTables.k pages");
  require_extent(d[1], 1, "BlockTables.k page_size");
  require_extent(d[2], 1, "BlockTables.k kv_heads");
  require_extent(d[3], 1, "BlockTables.k head_dim");
  require_extent(v.extents[3], 1, "BlockTables.v v_head_dim");
  const Dims expected = {d[0], d[1], d[2], v.extents[3]};
  require(v.extents == expected, ErrorCode::kBadShape, "BlockTables.v", expected, v.extents);
  require(!is_quantised(k.dtype), ErrorCode::kBadArgument, "BlockTables.k type", "f32, bf16 or f16",
          name(k.dtype));
  require(v.dtype == k.dtype, ErrorCode::kBadArgument, "BlockTables.v type",
          std::string(name(k.dtype)) + ", that of k", name(v.dtype));
  require(k.data != nullptr && v.data != nullptr, ErrorCode::kBadArgument, "BlockTables",
          "k and v with data", "a null pointer");
  require_extent(tables.sequences, 0, "BlockTables.tables.sequences");
  require_extent(tables.entries, 0, "BlockTables.tables.entries");
  require(tables.entries <= (std::int64_t{1} << 40) / d[1], ErrorCode::kBadArgument,
          "BlockTables.tables.entries", "room for at most 2^40 tokens", tables.entries);
  require(tables.pages != nullptr || tables.sequences == 0 || tables.entries == 0,
          ErrorCode::kBadArgument, "BlockTables.tables.pages", "tables", "a null pointer");
}

KvTiles::Extents BlockTables::extents() const {
  return {k_.extents[2], k_.extents[3], v_.extents[3], k_.dtype,
          KvRowStrides{k_.strides[1], k_.strides[3], v_.strides[1], v_.strides[3]}};
}

bool BlockTables::has(std::int64_t sequence) const {
  return sequence >= 0 && sequence < tables_.sequences;
}

std::int64_t BlockTables::length(std::int64_t sequence) const {
  return tables_.lengths == nullptr ? tables_.entries * tile_slots() : tables_.lengths[sequence];
}

std::int64_t BlockTables::page_of(std::int64_t sequence, std::int64_t slot) const {
  const std::int64_t n = slot / tile_slots();
  if (n >= tables_.entries) return -1;
  const std::int32_t page = tables_.pages[sequence * tables_.row_stride + n];
  return page < k_.extents[0] ? std::max(page, -1) : -1;
}

KvTile BlockTables::tile(std::int64_t sequence, std::int64_t kv_head, std::int64_t slot) const {
  const std::int64_t page = std::max<std::int64_t>(page_of(sequence, slot), 0),
                     at = slot % tile_slots();
  return {k_.dtype, k_.address(page, at, kv_head, 0), v_.address(page, at, kv_head, 0), 0};
}

std::int64_t BlockTables::shared_slots(std::int64_t a, std::int64_t b) const {
  if (a == b) return length(a);
  const std::int64_t most = std::min(length(a), length(b));
  std::int64_t slots = 0;
  for (; slots < most; slots += tile_slots()) {
    const std::int64_t page = page_of(a, slots);
    if (page < 0 || page != page_of(b, slots)) break;
  }
  return std::min(slots, most);
}

std::int64_t BlockTables::first_missing(std::int64_t sequence, std::int64_t begin,
                                        std::int64_t end) const {
  while (begin < end && page_of(sequence, begin) >= 0)
    begin = (begin / tile_slots() + 1) * tile_slots();
  return std::min(begin, end);
}

void BlockTables::refuse_missing(std::int64_t sequence, std::int64_t slot) const {
  const std::int64_t n = slot / tile_slots();
  const std::string got = n < tables_.entries
                              ? std::to_string(tables_.pages[sequence * tables_.row_stride + n])
                              : "none: there are " + std::to_string(tables_.entries) + " entries";
  require(false, ErrorCode::kBadArgument,
          "Inputs.cache sequence " + std::to_string(sequence) + ", entry " + std::to_string(n) +
              " of its block table",
          "a page from 0 to " + std::to_string(k_.extents[0] - 1) + ", as slot " +
              std::to_string(slot) + " is visible",
          got);
}

}  // namespace rapt
