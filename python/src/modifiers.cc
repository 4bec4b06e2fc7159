#include "modifiers.h"

#include <nanobind/stl/vector.h>

#include "array.h"
#include "rapt/modifiers.h"

namespace rapt::python {

using nb::literals::operator""_a;

void bind_modifiers(nb::module_& m) {
  nb::class_<RelativeBias>(
      m, "RelativeBias",
      "Bias by the distance of key and query, learned for buckets of distances (T5):\n\n"
      "    s_ij += table[bucket(pos_j - pos_i), h]")
      .def(
          "__init__",
          [](RelativeBias* self, nb::handle table, std::int64_t buckets, std::int64_t max_distance,
             bool bidirectional) {
            new (self) RelativeBias{buckets, max_distance, bidirectional,
                                    floats_of(table, "RelativeBias.table")};
          },
          "table"_a, nb::kw_only(), "buckets"_a = 32, "max_distance"_a = 128,
          "bidirectional"_a = false,
          nb::sig("def __init__(self, table: Floats, *, buckets: int = 32, max_distance: int = 128,"
                  " bidirectional: bool = False) -> None"),
          "table  [buckets Hq], bucket by bucket")
      .def("bucket", &RelativeBias::bucket, "distance"_a, "Bucket of a distance pos_j - pos_i.");
  m.def("alibi_slopes", &alibi_slopes, "heads"_a,
        "ALiBi's slopes 2^(-8 (h + 1) / H), as arXiv:2108.12409 and its code have them.");
}

}  // namespace rapt::python
