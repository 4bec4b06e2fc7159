#include "cache.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "array.h"
#include "error.h"
#include "options.h"

namespace rapt::python {

using nb::literals::operator""_a;

namespace {

void append(PyCache& self, nb::handle k, nb::handle v, std::optional<std::int64_t> sequence) {
  const Use::Changing changing(self.use, "DenseKvCache.append");
  const Array keys(k, "DenseKvCache.append.k");
  const AnyConstTensor k_view = keys.view();
  const auto append_to = [&](const auto&... views) {
    const nb::gil_scoped_release release;
    if (sequence)
      self.cache.append(*sequence, views...);
    else
      self.cache.append(views...);
  };
  if (v.is_none()) return append_to(k_view);
  const Array values(v, "DenseKvCache.append.v");
  append_to(k_view, values.view());
}

void truncate(PyCache& self, std::int64_t sequence, std::int64_t length) {
  const Use::Changing changing(self.use, "DenseKvCache.truncate");
  self.cache.truncate(sequence, length);
}

nb::object read(PyCache& self, std::int64_t sequence, std::int64_t tokens) {
  const Use::Reading reading(self.use, "DenseKvCache.read");
  const DenseKvCache::Shape& s = self.cache.shape();
  const Array k = Array::empty({}, s.dtype, {1, tokens, s.kv_heads, s.head_dim});
  const Array v = Array::empty({}, s.dtype, {1, tokens, s.kv_heads, s.v_head_dim});
  const AnyTensor k_view = k.mutable_view(), v_view = v.mutable_view();
  {
    const nb::gil_scoped_release release;
    self.cache.read(sequence, k_view, v_view);
  }
  return nb::make_tuple(k.object(), v.object());
}

std::int64_t length(PyCache& self, std::int64_t sequence) {
  const Use::Reading reading(self.use, "DenseKvCache.length");
  const std::int64_t batch = self.cache.shape().batch;
  if (sequence < 0 || sequence >= batch)
    refuse("DenseKvCache.length.sequence", "0 to " + std::to_string(batch - 1),
           std::to_string(sequence));
  return self.cache.length(sequence);
}

}  // namespace

void bind_cache(nb::module_& m) {
  nb::class_<PyCache>(
      m, "DenseKvCache",
      "For every sequence and kv head, room for `capacity` keys and values, stored as the kernels\n"
      "read them. New keys are stored first and attention reads only what is stored. Any number "
      "of\n"
      "calls may read it at the same time; one that changes it must be alone.")
      .def(
          "__init__",
          [](PyCache* self, std::int64_t capacity, std::int64_t kv_heads, std::int64_t head_dim,
             std::optional<std::int64_t> v_head_dim, std::int64_t batch, const std::string& dtype,
             bool v_in_k) {
            const DenseKvCache::Shape shape{.batch = batch,
                                            .kv_heads = kv_heads,
                                            .head_dim = head_dim,
                                            .v_head_dim = v_head_dim.value_or(head_dim),
                                            .capacity = capacity,
                                            .dtype = dtype_of(dtype, "DenseKvCache.dtype"),
                                            .v_in_k = v_in_k};
            new (self) PyCache{DenseKvCache(shape)};
          },
          nb::kw_only(), "capacity"_a, "kv_heads"_a, "head_dim"_a, "v_head_dim"_a = nb::none(),
          "batch"_a = 1, "dtype"_a = "float32", "v_in_k"_a = false,
          "dtype is float32, bfloat16 or float16; v_head_dim None means head_dim. With v_in_k a "
          "token's\n"
          "values are the first v_head_dim features of its key (MLA) and are kept there alone.")
      .def("append", &append, "k"_a, "v"_a = nb::none(), "sequence"_a = nb::none(),
           nb::sig("def append(self, k: Array, v: Array | None = None,"
                   " sequence: int | None = None) -> None"),
           "Appends tokens to every sequence, or to one. Those of the cache's type are copied bit "
           "for\n"
           "bit, others are rounded once.\n\n"
           "k  [B, T, Hkv, D]   v  [B, T, Hkv, Dv]   B = 1 with `sequence`; no v with v_in_k")
      .def("truncate", &truncate, "sequence"_a, "length"_a,
           "Forgets the tokens of `sequence` from `length` on.")
      .def("read", &read, "sequence"_a, "tokens"_a,
           nb::sig("def read(self, sequence: int, tokens: int) -> tuple[typing.Any, typing.Any]"),
           "Copies of the first tokens of a sequence: k [1, T, Hkv, D] and v [1, T, Hkv, Dv] of "
           "the\n"
           "cache's type.")
      .def("length", &length, "sequence"_a = 0, "The tokens that a sequence has.")
      .def_prop_ro("capacity", [](const PyCache& c) { return c.cache.shape().capacity; })
      .def_prop_ro("batch", [](const PyCache& c) { return c.cache.shape().batch; })
      .def_prop_ro("size_bytes", [](const PyCache& c) { return c.cache.size_bytes(); });
}

}  // namespace rapt::python
