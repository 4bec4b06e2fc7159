#include "layer.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>

#include "array.h"
#include "cache.h"
#include "call.h"
#include "error.h"
#include "mask.h"
#include "options.h"
#include "plans.h"
#include "rapt/layer.h"
#include "rapt/norm.h"
#include "threads.h"
#include "weight_type.h"

namespace rapt::python {

using nb::literals::operator""_a;

namespace {

/// Arrays that weights and inputs are views of, for as long as the call.
class Views {
 public:
  AnyConstTensor any(nb::handle object, const char* where, int axes) {
    return kept_.emplace_back(object, where).view(axes);
  }
  ConstTensor f32(nb::handle object, const char* where, int axes) {
    if (object.is_none()) return {};
    return kept_.emplace_back(object, where).f32_view(axes);
  }

 private:
  std::vector<Array> kept_;
};

Linear linear(nb::handle weight, nb::handle bias, const std::optional<std::string>& type) {
  Views views;
  const AnyConstTensor w = views.any(weight, "Linear.weight", 2);
  const ConstTensor b = views.f32(bias, "Linear.bias", 1);
  if (type) return Linear(w, b, weight_type_of(*type, "Linear.type"));
  return Linear(w, b);
}

/// The extents of rows in any number of axes up to four.
std::vector<std::int64_t> row_extents(const Array& x) {
  if (x.axes() < 1 || x.axes() > 4)
    refuse(x.where(), "1 to 4 axes", x.describe(), ErrorCode::kBadShape);
  std::vector<std::int64_t> extents;
  for (int a = 0; a < x.axes(); ++a) extents.push_back(x.extent(a));
  return extents;
}

nb::object multiply(const Linear& linear, nb::handle x) {
  const Array from(x, "Linear.x");
  std::vector<std::int64_t> extents = row_extents(from);
  const int axes = from.axes();
  extents.back() = linear.outputs();
  const ConstTensor x_view = from.f32_view(axes);
  const Array y = Array::empty(from.library(), DType::kF32, extents);
  const MutableTensor y_view = y.mutable_f32_view(axes);
  const BorrowedScratch scratch;
  const Threads pool = threads();
  {
    const nb::gil_scoped_release release;
    linear(pool, x_view, y_view, *scratch);
  }
  return y.object();
}

void bind_linear(nb::module_& m) {
  const auto none = nb::none();
  nb::class_<Linear>(m, "Linear",
                     "A linear map with its weight packed once: y_tn = sum_k x_tk W_nk + bias_n.")
      .def(
          "__init__",
          [](Linear* self, nb::handle weight, nb::handle bias,
             const std::optional<std::string>& type) {
            new (self) Linear(linear(weight, bias, type));
          },
          "weight"_a, "bias"_a = none, nb::kw_only(), "type"_a = none,
          nb::sig("def __init__(self, weight: Array, bias: Array | None = None, *,"
                  " type: str | None = None) -> None"),
          "weight  [N, K] float32, bfloat16 or float16, copied   bias  [N] float32\n\n"
          "type: float32, bfloat16, float16, int8 or native_bfloat16 (docs/numerics.md), what the\n"
          "weight is kept in; None: its own.")
      .def("__call__", &multiply, "x"_a, nb::sig("def __call__(self, x: Array) -> typing.Any"),
           "x  [..., K] float32, up to four axes   y  [..., N]")
      .def_prop_ro("inputs", &Linear::inputs)
      .def_prop_ro("outputs", &Linear::outputs)
      .def_prop_ro("size_bytes", &Linear::size_bytes);
}

/// x and y of a norm, one or the other, in any number of axes up to four.
class Rows {
 public:
  Rows(nb::handle x, nb::handle out, const char* x_name, const char* out_name)
      : x_(x, x_name),
        extents_(row_extents(x_)),
        y_(out.is_none() ? Array::empty(x_.library(), DType::kF32, extents_)
                         : Array(out, out_name)),
        out_name_(out_name) {
    x_view = x_.f32_view(x_.axes());
    y_view = y_.mutable_f32_view(x_.axes());
    if (y_view.extents != x_view.extents)
      refuse(out_name, "the extents of x, " + x_.describe(), y_.describe(), ErrorCode::kBadShape);
    require_in_place_or_apart(y_view, x_view, out_name);
  }

  /// @throws Error{kBadArgument} if y is written over `in`, which every row reads.
  void keep_apart(const ConstTensor& in) const {
    if (in.data != nullptr && overlap(y_view, in))
      refuse(out_name_, "x itself or memory of its own", "memory of another input");
  }

  nb::object result() const { return y_.object(); }

  ConstTensor x_view;
  MutableTensor y_view;

 private:
  Array x_;
  std::vector<std::int64_t> extents_;
  Array y_;
  const char* out_name_;
};

void bind_norms(nb::module_& m) {
  const auto none = nb::none();
  m.def(
      "rms_norm",
      [](nb::handle x, nb::handle weight, float eps, nb::handle out) {
        const Rows rows(x, out, "rms_norm.x", "rms_norm.out");
        Views views;
        const ConstTensor w = views.f32(weight, "rms_norm.weight", 1);
        rows.keep_apart(w);
        const Threads pool = threads();
        {
          const nb::gil_scoped_release release;
          rms_norm(pool, rows.x_view, w, eps, rows.y_view);
        }
        return rows.result();
      },
      "x"_a, "weight"_a, "eps"_a, nb::kw_only(), "out"_a = none,
      nb::sig("def rms_norm(x: Array, weight: Array, eps: float, *, out: Array | None = None)"
              " -> typing.Any"),
      "Root-mean-square norm of each row:\n\n"
      "    y_e = x_e weight_e / sqrt((1/N) sum_e x_e^2 + eps)\n\n"
      "x  [..., N] float32, up to four axes   weight  [N]   out may be x. arXiv:1910.07467");
  m.def(
      "layer_norm",
      [](nb::handle x, nb::handle weight, nb::handle bias, float eps, nb::handle out) {
        const Rows rows(x, out, "layer_norm.x", "layer_norm.out");
        Views views;
        const ConstTensor w = views.f32(weight, "layer_norm.weight", 1);
        const ConstTensor b = views.f32(bias, "layer_norm.bias", 1);
        rows.keep_apart(w);
        rows.keep_apart(b);
        const Threads pool = threads();
        {
          const nb::gil_scoped_release release;
          layer_norm(pool, rows.x_view, w, b, eps, rows.y_view);
        }
        return rows.result();
      },
      "x"_a, "weight"_a, "bias"_a.none(), "eps"_a, nb::kw_only(), "out"_a = none,
      nb::sig("def layer_norm(x: Array, weight: Array, bias: Array | None, eps: float, *,"
              " out: Array | None = None) -> typing.Any"),
      "Layer norm of each row, the variance taken around the mean in a second pass:\n\n"
      "    y_e = (x_e - mean) weight_e / sqrt((1/N) sum_e (x_e - mean)^2 + eps) + bias_e\n\n"
      "x  [..., N] float32, up to four axes   weight, bias  [N]   out may be x. arXiv:1607.06450");
}

/// The layer with working memory of its own.
struct PyLayer {
  MultiHeadAttention layer;
  MultiHeadAttention::Workspace workspace{};
  Use use{};
};

nb::object attend(PyLayer& self, nb::handle x, nb::handle memory, nb::handle cache,
                  nb::handle x_ranges, nb::handle memory_ranges, bool return_heads) {
  const Use::Changing changing(self.use, "MultiHeadAttention");
  std::optional<Use::Reading> reading;
  Views views;
  MultiHeadAttention::Inputs inputs;
  if (!cache.is_none()) {
    auto& kept = cast_to<PyCache>(cache, "MultiHeadAttention.cache", "a rapt.DenseKvCache");
    reading.emplace(kept.use, "MultiHeadAttention.cache");
    inputs.cache = &kept.cache;
  }
  const Array x_array(x, "MultiHeadAttention.x");
  inputs.x = x_array.f32_view(3);
  inputs.memory = views.f32(memory, "MultiHeadAttention.memory", 3);
  inputs.x_ranges = ranges_of(x_ranges, "MultiHeadAttention.x_ranges");
  inputs.memory_ranges = ranges_of(memory_ranges, "MultiHeadAttention.memory_ranges");
  const MultiHeadAttention::Config& c = self.layer.config();
  const std::int64_t batch = inputs.x.extents[1], tokens = inputs.x.extents[2];
  const Library library = x_array.library();
  const Array y = Array::empty(library, DType::kF32, {batch, tokens, c.model_dim});
  MultiHeadAttention::Outputs outputs;
  outputs.y = y.mutable_f32_view(3);
  std::optional<Array> heads, contributions;
  if (return_heads) {
    heads = Array::empty(library, DType::kF32, {batch, tokens, c.q_heads, c.v_head_dim});
    contributions = Array::empty(library, DType::kF32, {batch, tokens, c.q_heads, c.model_dim});
    outputs.heads = heads->mutable_f32_view();
    outputs.contributions = contributions->mutable_f32_view();
  }
  const Threads pool = threads();
  {
    const nb::gil_scoped_release release;
    self.layer(pool, inputs, self.workspace, outputs);
  }
  if (!return_heads) return y.object();
  return nb::make_tuple(y.object(), heads->object(), contributions->object());
}

void append(PyLayer& self, nb::handle c, PyCache& cache) {
  const Use::Changing working(self.use, "MultiHeadAttention.append");
  const Use::Changing changing(cache.use, "MultiHeadAttention.append.cache");
  const Array array(c, "MultiHeadAttention.append.c");
  const ConstTensor view = array.f32_view(3);
  const Threads pool = threads();
  const nb::gil_scoped_release release;
  self.layer.append(pool, view, cache.cache, self.workspace);
}

void make_layer(PyLayer* self, const nb::handle (&w)[8], const MultiHeadAttention::Config& config) {
  Views views;
  MultiHeadAttention::Weights weights;
  weights.q = views.any(w[0], "MultiHeadAttention.q", 2);
  weights.k = views.any(w[1], "MultiHeadAttention.k", 2);
  weights.v = views.any(w[2], "MultiHeadAttention.v", 2);
  weights.o = views.any(w[3], "MultiHeadAttention.o", 2);
  weights.q_bias = views.f32(w[4], "MultiHeadAttention.q_bias", 1);
  weights.k_bias = views.f32(w[5], "MultiHeadAttention.k_bias", 1);
  weights.v_bias = views.f32(w[6], "MultiHeadAttention.v_bias", 1);
  weights.o_bias = views.f32(w[7], "MultiHeadAttention.o_bias", 1);
  MultiHeadAttention::Config full = config;
  full.model_dim = weights.q.extents[3];
  full.memory_dim = weights.k.extents[3];
  new (self) PyLayer{MultiHeadAttention(full, weights)};
}

constexpr const char* kLayerDoc = R"(Multi-head attention with its projections.

    q = x W_Q^T + b_Q    k = c W_K^T + b_K    v = c W_V^T + b_V       (c = x, or a memory)
    o_h = attention(rotary(q_h), rotary(k_g), v_g),   g = h / (Hq / Hkv)
    y = concat_h(o_h) W_O^T + b_O

q  [Hq D, d]   k  [Hkv D, dc]   v  [Hkv Dv, dc]   o  [d, Hq Dv], biases [rows], as checkpoints have
them. kv_heads None means q_heads, head_dim None d / q_heads, v_head_dim None head_dim. type is what
the weights are kept in: float32, bfloat16, float16, int8 or native_bfloat16; None: each in its own. arithmetic
is that of `attention`: native_bfloat16 rounds q, k and v to bf16, and takes a cache of bfloat16.

One call at a time. arXiv:1706.03762, 3.2.2)";

void bind_multi_head(nb::module_& m) {
  const auto none = nb::none();
  nb::class_<PyLayer>(m, "MultiHeadAttention", kLayerDoc)
      .def(
          "__init__",
          [](PyLayer* self, nb::handle q, nb::handle k, nb::handle v, nb::handle o,
             std::int64_t q_heads, std::optional<std::int64_t> kv_heads,
             std::optional<std::int64_t> head_dim, std::optional<std::int64_t> v_head_dim,
             nb::handle q_bias, nb::handle k_bias, nb::handle v_bias, nb::handle o_bias,
             nb::handle mask, std::optional<double> scale, nb::handle rotary,
             const std::optional<std::string>& type, const std::string& arithmetic) {
            MultiHeadAttention::Config config;
            config.q_heads = q_heads;
            config.kv_heads = kv_heads.value_or(0);
            config.head_dim = head_dim.value_or(0);
            config.v_head_dim = v_head_dim.value_or(0);
            config.mask = mask_of(mask, "MultiHeadAttention.mask");
            if (scale) config.scale = static_cast<float>(*scale);
            if (!rotary.is_none())
              config.rotary = cast_to<Rotary>(rotary, "MultiHeadAttention.rotary", "a rapt.Rotary");
            if (type) config.weight_type = weight_type_of(*type, "MultiHeadAttention.type");
            config.arithmetic = arithmetic_of(arithmetic, "MultiHeadAttention.arithmetic");
            make_layer(self, {q, k, v, o, q_bias, k_bias, v_bias, o_bias}, config);
          },
          "q"_a, "k"_a, "v"_a, "o"_a, nb::kw_only(), "q_heads"_a, "kv_heads"_a = none,
          "head_dim"_a = none, "v_head_dim"_a = none, "q_bias"_a = none, "k_bias"_a = none,
          "v_bias"_a = none, "o_bias"_a = none, "mask"_a = none, "scale"_a = none,
          "rotary"_a = none, "type"_a = none, "arithmetic"_a = kF32Arithmetic,
          nb::sig("def __init__(self, q: Array, k: Array, v: Array, o: Array, *, q_heads: int,"
                  " kv_heads: int | None = None, head_dim: int | None = None,"
                  " v_head_dim: int | None = None, q_bias: Array | None = None,"
                  " k_bias: Array | None = None, v_bias: Array | None = None,"
                  " o_bias: Array | None = None, mask: Mask | None = None,"
                  " scale: float | None = None, rotary: Rotary | None = None,"
                  " type: str | None = None, arithmetic: str = 'float32') -> None"))
      .def("__call__", &attend, "x"_a, nb::kw_only(), "memory"_a = none, "cache"_a = none,
           "x_ranges"_a = none, "memory_ranges"_a = none, "return_heads"_a = false,
           nb::sig("def __call__(self, x: Array, *, memory: Array | None = None,"
                   " cache: DenseKvCache | None = None, x_ranges: IntLists | None = None,"
                   " memory_ranges: IntLists | None = None, return_heads: bool = False)"
                   " -> typing.Any"),
           "y [B, Tq, d] of x [B, Tq, d]: x attends to itself, to a memory [B, Tk, dc], or to the\n"
           "keys and values that `append` has put into a cache. With return_heads also o_h\n"
           "[B, Tq, Hq, Dv] and what each adds to y, o_h W_O[:, h]^T [B, Tq, Hq, d].")
      .def("append", &append, "c"_a, "cache"_a,
           nb::sig("def append(self, c: Array, cache: DenseKvCache) -> None"),
           "Projects the keys and values of c [B, T, dc] and appends them, rotated to their slots.")
      .def(
          "make_cache",
          [](const PyLayer& self, std::int64_t batch, std::int64_t capacity,
             const std::string& dtype) {
            const DType type = dtype_of(dtype, "MultiHeadAttention.make_cache.dtype");
            return PyCache{self.layer.make_cache(batch, capacity, type)};
          },
          "batch"_a, "capacity"_a, "dtype"_a = "float32",
          "A cache of the right shape for `batch` sequences of up to `capacity` tokens.");
}

}  // namespace

void bind_layer(nb::module_& m) {
  bind_linear(m);
  bind_norms(m);
  bind_multi_head(m);
}

}  // namespace rapt::python
