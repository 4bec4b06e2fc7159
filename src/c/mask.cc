#include "c/convert.h"

namespace rapt::c {
namespace {

PerSequence<std::int64_t> lists_of(const rapt_list* lists, std::int64_t count, const char* where) {
  require_extent(count, 0, where);
  if (count > 0) require_pointer(lists, where, "lists");
  PerSequence<std::int64_t> read;
  for (std::int64_t b = 0; b < count; ++b)
    read.push_back(values_of(lists[b].values, lists[b].count, where));
  return read;
}

std::vector<std::vector<bool>> table_of(const std::uint8_t* visible, std::int64_t kinds) {
  const char* const where = "rapt_mask_structure visible";
  require(kinds >= 1 && kinds <= 64, ErrorCode::kBadArgument, where, "1 to 64 kinds", kinds);
  require_pointer(visible, where, "a table");
  std::vector<std::vector<bool>> table;
  for (std::int64_t x = 0; x < kinds; ++x)
    table.emplace_back(visible + x * kinds, visible + (x + 1) * kinds);
  return table;
}

BlockMask blocks_of(const rapt_block_shape* shape, const std::uint8_t* visible) {
  require_pointer(shape, "rapt_mask_blocks shape", "a shape");
  BlockMask blocks({shape->batch, shape->heads, shape->q_blocks, shape->kv_blocks, shape->q_block,
                    shape->kv_block});
  for (std::int64_t b = 0; b < shape->batch; ++b)
    for (std::int64_t h = 0; h < shape->heads; ++h)
      for (std::int64_t x = 0; x < shape->q_blocks; ++x)
        for (std::int64_t y = 0; y < shape->kv_blocks; ++y) {
          require_pointer(visible, "rapt_mask_blocks visible", "a map");
          if (*visible++ != 0) blocks.set(b, h, x, y);
        }
  return blocks;
}

Dims dims_of(const std::int64_t* dims, const char* where) {
  require_pointer(dims, where, "four of them");
  return {dims[0], dims[1], dims[2], dims[3]};
}

}  // namespace
}  // namespace rapt::c

using rapt::Mask;
using rapt::c::create;
using rapt::c::value_of;

rapt_status rapt_mask_none(rapt_mask** out) {
  return create("rapt_mask_none out", out, [] { return Mask::none(); });
}

rapt_status rapt_mask_causal(rapt_mask** out) {
  return create("rapt_mask_causal out", out, [] { return Mask::causal(); });
}

rapt_status rapt_mask_causal_top_left(rapt_mask** out) {
  return create("rapt_mask_causal_top_left out", out, [] { return Mask::causal_top_left(); });
}

rapt_status rapt_mask_sliding_window(int64_t tokens, rapt_mask** out) {
  return create("rapt_mask_sliding_window out", out, [&] { return Mask::sliding_window(tokens); });
}

rapt_status rapt_mask_window(int64_t before, int64_t after, rapt_mask** out) {
  return create("rapt_mask_window out", out, [&] { return Mask::window(before, after); });
}

rapt_status rapt_mask_strided(int64_t stride, rapt_mask** out) {
  return create("rapt_mask_strided out", out, [&] { return Mask::strided(stride); });
}

rapt_status rapt_mask_dilated_window(int64_t tokens, int64_t dilation, rapt_mask** out) {
  return create("rapt_mask_dilated_window out", out,
                [&] { return Mask::dilated_window(tokens, dilation); });
}

rapt_status rapt_mask_prefix(const int64_t* lengths, int64_t count, rapt_mask** out) {
  return create("rapt_mask_prefix out", out, [&] {
    return Mask::prefix(rapt::c::values_of(lengths, count, "rapt_mask_prefix lengths"));
  });
}

rapt_status rapt_mask_documents(const rapt_list* ids, int64_t lists, rapt_mask** out) {
  return create("rapt_mask_documents out", out, [&] {
    return Mask::documents(rapt::c::lists_of(ids, lists, "rapt_mask_documents ids"));
  });
}

rapt_status rapt_mask_documents_from_offsets(const rapt_list* offsets, int64_t lists,
                                             rapt_mask** out) {
  return create("rapt_mask_documents_from_offsets out", out, [&] {
    return Mask::documents_from_offsets(
        rapt::c::lists_of(offsets, lists, "rapt_mask_documents_from_offsets offsets"));
  });
}

rapt_status rapt_mask_structure(const rapt_list* kinds, int64_t lists, const uint8_t* visible,
                                int64_t kind_count, rapt_mask** out) {
  return create("rapt_mask_structure out", out, [&] {
    return Mask::structure(rapt::c::lists_of(kinds, lists, "rapt_mask_structure kinds"),
                           rapt::c::table_of(visible, kind_count));
  });
}

rapt_status rapt_mask_global(const rapt_list* slots, int64_t lists, rapt_mask** out) {
  return create("rapt_mask_global out", out, [&] {
    return Mask::global(rapt::c::lists_of(slots, lists, "rapt_mask_global slots"));
  });
}

rapt_status rapt_mask_tree(const rapt_list* parents, int64_t lists, rapt_mask** out) {
  return create("rapt_mask_tree out", out, [&] {
    return Mask::tree(rapt::c::lists_of(parents, lists, "rapt_mask_tree parents"));
  });
}

rapt_status rapt_mask_blocks(const rapt_block_shape* shape, const uint8_t* visible,
                             rapt_mask** out) {
  return create("rapt_mask_blocks out", out,
                [&] { return Mask::blocks(rapt::c::blocks_of(shape, visible)); });
}

rapt_status rapt_mask_dense(const uint8_t* bits, const int64_t extents[4], const int64_t strides[4],
                            rapt_mask** out) {
  return create("rapt_mask_dense out", out, [&] {
    return Mask::dense({bits, rapt::c::dims_of(extents, "rapt_mask_dense extents"),
                        rapt::c::dims_of(strides, "rapt_mask_dense strides")});
  });
}

rapt_status rapt_mask_and(const rapt_mask* a, const rapt_mask* b, rapt_mask** out) {
  return create("rapt_mask_and out", out,
                [&] { return value_of(a, "rapt_mask_and a") & value_of(b, "rapt_mask_and b"); });
}

rapt_status rapt_mask_or(const rapt_mask* a, const rapt_mask* b, rapt_mask** out) {
  return create("rapt_mask_or out", out,
                [&] { return value_of(a, "rapt_mask_or a") | value_of(b, "rapt_mask_or b"); });
}

rapt_status rapt_mask_not(const rapt_mask* a, rapt_mask** out) {
  return create("rapt_mask_not out", out, [&] { return ~value_of(a, "rapt_mask_not a"); });
}

rapt_status rapt_mask_describe(const rapt_mask* mask, char* text, size_t capacity, size_t* length) {
  return rapt::c::answer_text("rapt_mask_describe text", text, capacity, length,
                              [&] { return value_of(mask, "rapt_mask_describe mask").describe(); });
}

void rapt_mask_destroy(rapt_mask* mask) { delete mask; }
