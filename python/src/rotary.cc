#include "rotary.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <memory>

#include "array.h"
#include "cache.h"
#include "error.h"
#include "paged_cache.h"
#include "rapt/positions.h"
#include "rapt/rotary.h"
#include "rapt/rotary_append.h"
#include "threads.h"

namespace rapt::python {

using nb::literals::operator""_a;

namespace {

RotaryStyle style_of(const std::string& name) {
  if (name == "half") return RotaryStyle::kHalf;
  if (name == "interleaved") return RotaryStyle::kInterleaved;
  refuse("Rotary.style", "half or interleaved", name);
}

RotaryPrecision precision_of(const std::string& name) {
  if (name == "float32") return RotaryPrecision::kF32;
  if (name == "float64") return RotaryPrecision::kF64;
  refuse("Rotary.precision", "float32 or float64", name);
}

void bind_scalings(nb::module_& m) {
  const auto none = nb::none();
  nb::class_<LinearScaling>(m, "LinearScaling", "f' = f / factor. arXiv:2306.15595")
      .def(
          "__init__", [](LinearScaling* self, double factor) { new (self) LinearScaling{factor}; },
          nb::kw_only(), "factor"_a);
  nb::class_<DynamicNtkScaling>(
      m, "DynamicNtkScaling",
      "A larger theta where a sequence is longer than original_context. arXiv:2309.00071, B.1")
      .def(
          "__init__",
          [](DynamicNtkScaling* self, double factor, std::int64_t original_context) {
            new (self) DynamicNtkScaling{factor, original_context};
          },
          nb::kw_only(), "factor"_a, "original_context"_a);
  nb::class_<YarnScaling>(
      m, "YarnScaling",
      "Pairs that turn often stay, slow ones are divided by factor, those between mixed.\n"
      "arXiv:2309.00071, 3")
      .def(
          "__init__",
          [](YarnScaling* self, double factor, std::int64_t original_context, double beta_fast,
             double beta_slow, bool truncate, double mscale, double mscale_all_dim,
             std::optional<double> attention_factor) {
            new (self) YarnScaling{factor,   original_context, beta_fast,      beta_slow,
                                   truncate, mscale,           mscale_all_dim, attention_factor};
          },
          nb::kw_only(), "factor"_a, "original_context"_a, "beta_fast"_a = 32.0,
          "beta_slow"_a = 1.0, "truncate"_a = true, "mscale"_a = 0.0, "mscale_all_dim"_a = 0.0,
          "attention_factor"_a = none);
  nb::class_<Llama3Scaling>(m, "Llama3Scaling",
                            "Short waves stay, long ones are divided by factor. arXiv:2407.21783")
      .def(
          "__init__",
          [](Llama3Scaling* self, double factor, double low_freq_factor, double high_freq_factor,
             std::int64_t original_context) {
            new (self) Llama3Scaling{factor, low_freq_factor, high_freq_factor, original_context};
          },
          nb::kw_only(), "factor"_a, "low_freq_factor"_a = 1.0, "high_freq_factor"_a = 4.0,
          "original_context"_a);
  nb::class_<LongRopeScaling>(m, "LongRopeScaling",
                              "f'_i = f_i / e_i, a list e for short sequences and one for long "
                              "ones. arXiv:2402.13753")
      .def(
          "__init__",
          [](LongRopeScaling* self, std::vector<double> short_factor,
             std::vector<double> long_factor, double factor, std::int64_t original_context,
             std::optional<double> attention_factor) {
            new (self) LongRopeScaling{std::move(short_factor), std::move(long_factor), factor,
                                       original_context, attention_factor};
          },
          nb::kw_only(), "short_factor"_a, "long_factor"_a, "factor"_a, "original_context"_a,
          "attention_factor"_a = none);
}

RotaryScaling scaling_of(nb::handle object) {
  if (object.is_none()) return {};
  if (nb::isinstance<LinearScaling>(object)) return nb::cast<LinearScaling>(object);
  if (nb::isinstance<DynamicNtkScaling>(object)) return nb::cast<DynamicNtkScaling>(object);
  if (nb::isinstance<YarnScaling>(object)) return nb::cast<YarnScaling>(object);
  if (nb::isinstance<Llama3Scaling>(object)) return nb::cast<Llama3Scaling>(object);
  if (nb::isinstance<LongRopeScaling>(object)) return nb::cast<LongRopeScaling>(object);
  refuse("Rotary.scaling", "a scaling", nb::type_name(object.type()).c_str());
}

nb::object rows(const std::vector<float>& values, const RotaryTable& table) {
  const Array array = Array::empty({}, DType::kF32, {table.tokens(), table.pairs()});
  std::memcpy(array.data(), values.data(), values.size() * sizeof(float));
  return array.object();
}

/// A table from elsewhere, as checkpoints of other frameworks may hold one.
RotaryTable table_of(nb::handle cos, nb::handle sin, const std::string& style) {
  const Array c(cos, "RotaryTable.cos"), s(sin, "RotaryTable.sin");
  const AnyConstTensor cv = c.view(2), sv = s.view(2);
  if (cv.extents != sv.extents)
    refuse("RotaryTable.sin", c.describe(), s.describe(), ErrorCode::kBadShape);
  RotaryTable table;
  table.config.dims = 2 * cv.extents[3];
  table.config.style = style_of(style);
  for (std::int64_t t = 0; t < cv.extents[2]; ++t) {
    table.positions.push_back(t);
    for (std::int64_t i = 0; i < cv.extents[3]; ++i) {
      table.cos.push_back(cv.at(0, 0, t, i));
      table.sin.push_back(sv.at(0, 0, t, i));
    }
  }
  return table;
}

nb::object apply(const RotaryTable& table, nb::handle x, nb::handle out) {
  const Array from(x, "apply_rotary.x");
  const ConstTensor x_view = from.f32_view();
  const Dims& d = x_view.extents;
  const Array to = out.is_none()
                       ? Array::empty(from.library(), DType::kF32, {d[0], d[1], d[2], d[3]})
                       : Array(out, "apply_rotary.out");
  const MutableTensor y = to.mutable_f32_view();
  require_in_place_or_apart(y, x_view, "apply_rotary.out");
  const Threads pool = threads();
  {
    const nb::gil_scoped_release release;
    apply_rotary(pool, table, x_view, y);
  }
  return to.object();
}

void append(const RotaryTable& table, nb::handle k, nb::handle v, PyCache& cache) {
  const Use::Changing changing(cache.use, "append_rotary.cache");
  const Array keys(k, "append_rotary.k"), values(v, "append_rotary.v");
  const MutableTensor k_view = keys.mutable_f32_view();
  const AnyConstTensor v_view = values.view();
  if (overlap(k_view, v_view)) refuse("append_rotary.k", "memory of its own", "memory of v");
  const nb::gil_scoped_release release;
  append_rotary(table, k_view, v_view, cache.cache);
}

void store(const RotaryTable& table, std::int64_t row, nb::handle k, nb::handle v,
           PyPagedCache& cache, std::int64_t layer, std::int64_t sequence, std::int64_t first) {
  const Use::Changing changing(cache.use, "store_rotary.cache");
  const Array keys(k, "store_rotary.k"), values(v, "store_rotary.v");
  const MutableTensor k_view = keys.mutable_f32_view();
  const AnyConstTensor v_view = values.view();
  if (overlap(k_view, v_view)) refuse("store_rotary.k", "memory of its own", "memory of v");
  const nb::gil_scoped_release release;
  store_rotary(table, row, k_view, v_view, cache.cache, layer, sequence, first);
}

void add(nb::handle table, nb::handle positions, nb::handle x) {
  const Array rows(table, "add_positions.table"), to(x, "add_positions.x");
  const ConstTensor rows_view = rows.f32_view(2);
  const MutableTensor x_view = to.mutable_f32_view(3);
  if (overlap(x_view, rows_view))
    refuse("add_positions.x", "memory of its own", "memory of the table");
  const std::vector<std::int64_t> list = ints_of(positions, "add_positions.positions");
  const Threads pool = threads();
  const nb::gil_scoped_release release;
  add_positions(pool, rows_view, list, x_view);
}

}  // namespace

void bind_rotary(nb::module_& m) {
  const auto none = nb::none();
  bind_scalings(m);
  nb::class_<RotaryTable>(m, "RotaryTable", "cos and sin of every token's angles.")
      .def(
          "__init__",
          [](RotaryTable* self, nb::handle cos, nb::handle sin, const std::string& style) {
            new (self) RotaryTable(table_of(cos, sin, style));
          },
          "cos"_a, "sin"_a, nb::kw_only(), "style"_a = "half",
          nb::sig("def __init__(self, cos: Array, sin: Array, *, style: str = 'half') -> None"),
          "A table from elsewhere: cos, sin [tokens, pairs].")
      .def_prop_ro(
          "cos", [](const RotaryTable& t) { return rows(t.cos, t); },
          "float32 [tokens, pairs], a copy.")
      .def_prop_ro(
          "sin", [](const RotaryTable& t) { return rows(t.sin, t); },
          "float32 [tokens, pairs], a copy.");
  nb::class_<Rotary>(m, "Rotary",
                     "Rotary positions: pair i of a token at `position` turns by position f_i,\n"
                     "f_i = theta^(-2i / dims). arXiv:2104.09864")
      .def(
          "__init__",
          [](Rotary* self, std::int64_t dims, double theta, const std::string& style,
             nb::handle scaling, const std::string& precision) {
            new (self) Rotary(RotaryConfig{dims, theta, style_of(style), scaling_of(scaling),
                                           precision_of(precision)});
          },
          "dims"_a, "theta"_a = 10000.0, nb::kw_only(), "style"_a = "half", "scaling"_a = none,
          "precision"_a = "float32",
          nb::sig("def __init__(self, dims: int, theta: float = 10000.0, *, style: str = 'half',"
                  " scaling: LinearScaling | DynamicNtkScaling | YarnScaling | Llama3Scaling"
                  " | LongRopeScaling | None = None, precision: str = 'float32') -> None"),
          "The leading `dims` features of a head are rotated. style: half (i and i + dims/2) or\n"
          "interleaved (2i and 2i + 1). precision of inverse frequencies and angles: float32, as\n"
          "checkpoints were trained, or float64.")
      .def_prop_ro("dims", &Rotary::dims)
      .def("inv_freq", &Rotary::inv_freq, "length"_a = 0,
           "f of every pair, for sequences of `length` tokens.")
      .def(
          "table",
          [](const Rotary& self, nb::handle positions, nb::handle lengths) {
            return self.table(ints_of(positions, "Rotary.table.positions"),
                              lengths.is_none() ? std::vector<std::int64_t>{}
                                                : ints_of(lengths, "Rotary.table.lengths"));
          },
          "positions"_a, "lengths"_a = none,
          nb::sig("def table(self, positions: Ints, lengths: Ints | None = None) -> RotaryTable"),
          "Angles of tokens at `positions`, in any order. `lengths` are what dynamic NTK and "
          "LongRoPE\n"
          "scale for: the tokens that each sequence will hold in the end.");
  m.def(
      "apply_rotary", &apply, "table"_a, "x"_a, nb::kw_only(), "out"_a = none,
      nb::sig("def apply_rotary(table: RotaryTable, x: Array, *, out: Array | None = None)"
              " -> typing.Any"),
      "Rotates the leading features of every head, copies the others.\n\n"
      "x  [B, T, H, D] float32; token (b, t) is row b T + t of the table, and a table of T tokens\n"
      "serves every b. out may be x.");
  m.def("append_rotary", &append, "table"_a, "k"_a, "v"_a, "cache"_a,
        nb::sig("def append_rotary(table: RotaryTable, k: Array, v: Array,"
                " cache: DenseKvCache) -> None"),
        "Rotates keys in place and appends them to every sequence of a cache, in one pass over "
        "memory:\n"
        "the bits of apply_rotary with out=k, then DenseKvCache.append.\n\n"
        "k  [B, T, Hkv, D] float32   v  [B, T, Hkv, Dv]");
  m.def("store_rotary", &store, "table"_a, "row"_a, "k"_a, "v"_a, "cache"_a, nb::kw_only(),
        "layer"_a, "sequence"_a, "first"_a,
        nb::sig("def store_rotary(table: RotaryTable, row: int, k: Array, v: Array,"
                " cache: PagedKvCache, *, layer: int, sequence: int, first: int) -> None"),
        "The same of PagedKvCache.store: one sequence's tokens, which are rows row .. of the "
        "table.\n\n"
        "k  [1, T, Hkv, D] float32   v  [1, T, Hkv, Dv]");
  m.def("add_positions", &add, "table"_a, "positions"_a, "x"_a,
        nb::sig("def add_positions(table: Array, positions: Ints, x: Array) -> None"),
        "Learned positions, as in GPT-2: adds row position_t of the table to each token, in "
        "place.\n\n"
        "    x_t += table[position_t]\n\n"
        "table  [P, d] float32   x  [B, T, d] float32; token (b, t) has position b T + t of the "
        "list, and\n"
        "a list of T positions serves every b. arXiv:1706.03762, 3.5");
}

}  // namespace rapt::python
