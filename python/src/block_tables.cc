#include "block_tables.h"

#include <string>

#include "error.h"

namespace rapt::python {

using nb::literals::operator""_a;

namespace {

/// A table [sequences, entries], read where it is.
Array table_of(nb::handle object) {
  Array table(object, "BlockTables.block_table");
  if (table.element() != Element::kI32 || table.axes() != 2 ||
      (table.extent(1) > 1 && table.stride(1) != 1))
    refuse("BlockTables.block_table", "int32 [sequences, entries], entries side by side",
           table.describe());
  return table;
}

std::vector<std::int32_t> lengths_of(nb::handle object, std::int64_t sequences) {
  const std::vector<std::int64_t> given = ints_of(object, "BlockTables.lengths");
  if (static_cast<std::int64_t>(given.size()) != sequences)
    refuse("BlockTables.lengths", std::to_string(sequences) + ", one for each row of block_table",
           std::to_string(given.size()), ErrorCode::kBadShape);
  std::vector<std::int32_t> lengths;
  for (const std::int64_t length : given) {
    if (length < 0 || length > INT32_MAX)
      refuse("BlockTables.lengths", "0 to 2^31 - 1", std::to_string(length));
    lengths.push_back(static_cast<std::int32_t>(length));
  }
  return lengths;
}

constexpr const char* kDoc =
    R"(Keys and values in the pages of an inference engine, read where they are.

k_pages      [pages, page_size, Hkv, D], any page size and strides: of [pages, Hkv, page_size, D]
             give k.transpose(1, 2), of [pages, 2, page_size, Hkv, D] kv[:, 0] and kv[:, 1]
v_pages      [pages, page_size, Hkv, Dv]; may be a view of k_pages
block_table  int32 [sequences, entries]: slot s of sequence i is slot s % page_size of page
             block_table[i, s // page_size]. Entries that no query needs may hold anything.
lengths      tokens of each sequence

It is the `cache` of attention and run, with `sequences` for its rows. Pages and table are read in
each call: what an engine has written between two is seen. `lengths` are copied.)";

}  // namespace

PyBlockTables::PyBlockTables(nb::handle k_pages, nb::handle v_pages, nb::handle table,
                             nb::handle tokens)
    : k(k_pages, "BlockTables.k_pages"),
      v(v_pages, "BlockTables.v_pages"),
      block_table(table_of(table)),
      lengths(lengths_of(tokens, block_table.extent(0))),
      tables(k.view(), v.view(),
             {static_cast<const std::int32_t*>(block_table.data()), block_table.extent(0),
              block_table.extent(1), block_table.stride(0), lengths.data()}) {}

void bind_block_tables(nb::module_& m) {
  nb::class_<PyBlockTables>(m, "BlockTables", kDoc)
      .def(nb::init<nb::handle, nb::handle, nb::handle, nb::handle>(), "k_pages"_a, "v_pages"_a,
           "block_table"_a, "lengths"_a,
           nb::sig("def __init__(self, k_pages: Array, v_pages: Array, block_table: Array,"
                   " lengths: Ints) -> None"));
}

}  // namespace rapt::python
