#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <vector>

#include "array.h"
#include "rapt/attention.h"
#include "rapt/block_tables.h"

namespace rapt::python {

/// An engine's pages and tables, and the arrays that hold them.
struct PyBlockTables {
  /// @throws Error naming "BlockTables.<argument>".
  PyBlockTables(nb::handle k, nb::handle v, nb::handle block_table, nb::handle lengths);

  Array k, v, block_table;
  std::vector<std::int32_t> lengths;
  BlockTables tables;
};

void bind_block_tables(nb::module_& m);

}  // namespace rapt::python
