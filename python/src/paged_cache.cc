#include "paged_cache.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "array.h"
#include "error.h"
#include "options.h"

namespace rapt::python {

using nb::literals::operator""_a;

namespace {

/// A method that changes the cache, but not what its pages hold.
template <class... Args, class R>
auto changing(R (PagedKvCache::*method)(Args...), const char* where) {
  return [method, where](PyPagedCache& self, Args... args) {
    const Use::Changing use(self.use, where);
    return (self.cache.*method)(args...);
  };
}

/// One that reads it.
template <class... Args, class R>
auto reading(R (PagedKvCache::*method)(Args...) const, const char* where) {
  return [method, where](PyPagedCache& self, Args... args) {
    const Use::Reading use(self.use, where);
    return (self.cache.*method)(args...);
  };
}

void extend(PyPagedCache& self, std::int64_t sequence, std::int64_t tokens) {
  const Use::Changing changing(self.use, "PagedKvCache.extend");
  const nb::gil_scoped_release release;
  self.cache.extend(sequence, tokens);
}

void store(PyPagedCache& self, std::int64_t layer, std::int64_t sequence, std::int64_t first,
           nb::handle k, nb::handle v) {
  const Use::Changing changing(self.use, "PagedKvCache.store");
  const Array keys(k, "PagedKvCache.store.k");
  const AnyConstTensor k_view = keys.view();
  if (v.is_none()) {
    const nb::gil_scoped_release release;
    return self.cache.store(layer, sequence, first, k_view);
  }
  const Array values(v, "PagedKvCache.store.v");
  const AnyConstTensor v_view = values.view();
  const nb::gil_scoped_release release;
  self.cache.store(layer, sequence, first, k_view, v_view);
}

std::int64_t checked_length(const PagedKvCache& cache, std::int64_t sequence, const char* where) {
  if (!cache.has(sequence)) refuse(where, "a sequence that lives", std::to_string(sequence));
  return cache.length(sequence);
}

nb::object read(PyPagedCache& self, std::int64_t layer, std::int64_t sequence,
                std::int64_t tokens) {
  const Use::Reading reading(self.use, "PagedKvCache.read");
  const PagedKvCache::Shape& s = self.cache.shape();
  const std::int64_t length = checked_length(self.cache, sequence, "PagedKvCache.read.sequence");
  if (tokens < 0 || tokens > length)
    refuse("PagedKvCache.read.tokens", "0 to " + std::to_string(length), std::to_string(tokens));
  const DType dtype = is_quantised(s.dtype) ? DType::kF32 : s.dtype;
  const Array k = Array::empty({}, dtype, {1, tokens, s.kv_heads, s.head_dim});
  const Array v = Array::empty({}, dtype, {1, tokens, s.kv_heads, s.v_head_dim});
  const AnyTensor k_view = k.mutable_view(), v_view = v.mutable_view();
  {
    const nb::gil_scoped_release release;
    self.cache.read(layer, sequence, k_view, v_view);
  }
  return nb::make_tuple(k.object(), v.object());
}

std::int64_t length(PyPagedCache& self, std::int64_t sequence) {
  const Use::Reading reading(self.use, "PagedKvCache.length");
  return checked_length(self.cache, sequence, "PagedKvCache.length.sequence");
}

void make(PyPagedCache* self, std::int64_t pages, std::int64_t kv_heads, std::int64_t head_dim,
          std::optional<std::int64_t> v_head_dim, std::int64_t layers, std::int64_t page_size,
          const std::string& dtype, bool v_in_k) {
  const PagedKvCache::Shape shape{.layers = layers,
                                  .kv_heads = kv_heads,
                                  .head_dim = head_dim,
                                  .v_head_dim = v_head_dim.value_or(head_dim),
                                  .page_size = page_size,
                                  .pages = pages,
                                  .dtype = cache_type_of(dtype, "PagedKvCache.dtype"),
                                  .v_in_k = v_in_k};
  new (self) PyPagedCache{PagedKvCache(shape)};
}

constexpr const char* kDoc =
    R"(Keys and values of many sequences and of all layers of a model, in pages of `page_size` tokens.

Sequences that share a prefix share its pages, which are counted, and copied when one of them writes
there. Pages are taken from the system as they are first needed; never more than `pages`. Tokens are
appended in two steps: `extend` makes room in every layer, then `store` writes each layer's.

int8 and fp8_e4m3 keep a float32 scale for each token and head: x is read as element * scale, scale =
max |x_e| / M, M = 127 or 448.

Any number of calls may read it at the same time; one that changes it must be alone.)";

void bind_sequences(nb::class_<PyPagedCache>& c) {
  c.def("create", changing(&PagedKvCache::create, "PagedKvCache.create"),
        "A new sequence without tokens; its id is not used again.")
      .def("fork", changing(&PagedKvCache::fork, "PagedKvCache.fork"), "sequence"_a, "tokens"_a,
           "A new sequence that shares the first `tokens` of another. Nothing is copied.")
      .def("free", changing(&PagedKvCache::free, "PagedKvCache.free"), "sequence"_a,
           "Ends a sequence; pages that no other shares are free again.")
      .def("extend", &extend, "sequence"_a, "tokens"_a,
           "Makes a sequence longer by tokens that are unspecified until they are stored. Where "
           "there\n"
           "are not enough free pages an Error of code out_of_memory, and nothing has changed.")
      .def("truncate", changing(&PagedKvCache::truncate, "PagedKvCache.truncate"), "sequence"_a,
           "length"_a, "Forgets the tokens from `length` on.")
      .def("has", reading(&PagedKvCache::has, "PagedKvCache.has"), "sequence"_a,
           "Whether there is such a sequence.")
      .def("length", &length, "sequence"_a, "The tokens that a sequence has.")
      .def("pages_needed", reading(&PagedKvCache::pages_needed, "PagedKvCache.pages_needed"),
           "sequence"_a, "tokens"_a, "Pages that `extend` would take.");
}

void bind_tokens(nb::class_<PyPagedCache>& c) {
  c.def("store", &store, "layer"_a, "sequence"_a, "first"_a, "k"_a, "v"_a = nb::none(),
        nb::sig("def store(self, layer: int, sequence: int, first: int, k: Array,"
                " v: Array | None = None) -> None"),
        "Writes keys and values of one layer at slots [first, first + T), which `extend` made "
        "since\n"
        "the sequence was last forked. Those of the cache's type are copied bit for bit, others "
        "are\n"
        "rounded once, or quantised.\n\n"
        "k  [1, T, Hkv, D]   v  [1, T, Hkv, Dv]; no v with v_in_k")
      .def("read", &read, "layer"_a, "sequence"_a, "tokens"_a,
           nb::sig("def read(self, layer: int, sequence: int, tokens: int)"
                   " -> tuple[typing.Any, typing.Any]"),
           "Copies of the first tokens of a sequence: k [1, T, Hkv, D] and v [1, T, Hkv, Dv] of "
           "the\n"
           "cache's type, element * scale in float32 of int8 and fp8_e4m3.")
      .def(
          "layer",
          [](PyPagedCache& self, std::int64_t layer) {
            return PyTiles{self, self.cache.layer(layer)};
          },
          "layer"_a, nb::keep_alive<0, 1>(),
          "One layer, as the `cache` of attention and of plans, with `sequences`.");
}

}  // namespace

void bind_paged_cache(nb::module_& m) {
  nb::class_<PyTiles>(m, "KvTiles", "One layer of a PagedKvCache, as attention reads it.");
  nb::class_<PyPagedCache> c(m, "PagedKvCache", kDoc);
  c.def("__init__", &make, nb::kw_only(), "pages"_a, "kv_heads"_a, "head_dim"_a,
        "v_head_dim"_a = nb::none(), "layers"_a = 1, "page_size"_a = 256, "dtype"_a = "float32",
        "v_in_k"_a = false,
        "dtype is float32, bfloat16, float16, int8 or fp8_e4m3; page_size a multiple of 16;\n"
        "v_head_dim None means head_dim. With v_in_k a token's values are the first v_head_dim "
        "features\n"
        "of its key (MLA) and are kept there alone; not in int8 and fp8_e4m3.");
  bind_sequences(c);
  bind_tokens(c);
  c.def_prop_ro("free_pages", reading(&PagedKvCache::free_pages, "PagedKvCache.free_pages"),
                "That a sequence can still take.")
      .def_prop_ro("sequences", reading(&PagedKvCache::sequences, "PagedKvCache.sequences"),
                   "How many live.")
      .def_prop_ro("allocated_bytes",
                   reading(&PagedKvCache::allocated_bytes, "PagedKvCache.allocated_bytes"),
                   "Taken from the system so far.")
      .def_prop_ro("page_bytes",
                   [](const PyPagedCache& x) { return PagedKvCache::page_bytes(x.cache.shape()); })
      .def_prop_ro("page_size", [](const PyPagedCache& x) { return x.cache.shape().page_size; })
      .def_prop_ro("pages", [](const PyPagedCache& x) { return x.cache.shape().pages; });
}

}  // namespace rapt::python
