#include "attention.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string_view.h>

#include "call.h"
#include "options.h"
#include "plans.h"

namespace rapt::python {

namespace {

using nb::literals::operator""_a;

constexpr const char* kSignature =
    "def attention(q: Array, k: Array | None = None, v: Array | None = None, *, " RAPT_OPTIONS
    ", bias: Array | None = None," RAPT_CACHE
    " return_lse: bool = False,"
    " out: Array | None = None) -> typing.Any";

constexpr const char* kDoc =
    R"(Exact softmax attention over the keys that `mask` shows.

    s_ij = scale q_i.k_j, changed by the modifiers       o_i = sum_j exp(s_ij - lse_i) v_j

q  [B, Tq, Hq, D]   k  [B, Tk, Hkv, D]   v  [B, Tk, Hkv, Dv]   o  [B, Tq, Hq, Dv]

float32, bfloat16 or float16 each, of any strides, read where they are: numpy arrays, torch tensors
on the CPU, and what else speaks DLPack or the buffer protocol. o is of q's type and of the library
that q is of; query head h reads kv head h / (Hq / Hkv). A row that sees nothing is 0.

mask           a Mask; None shows every key
scale          default 1 / sqrt(D)
softcap        s := softcap tanh(s / softcap)
alibi          slopes [Hq]: s := s - slope_h |pos_i - pos_j|
relative_bias  a RelativeBias, by the distance of positions
bias           float32 [B, Hq, Tq, Tk], extents of 1 broadcast: s := s + bias; -inf hides the key
sinks          logits [Hq] that join the softmax without a value
q_ranges       (begin, end) of the tokens of each sequence that are not padding; kv_ranges alike
q_positions    [Tq] or [B, Tq], default: places; kv_positions [Tk] or [B, Tk], default: slots
arithmetic     float32, or native_bfloat16: products of bf16 pairs, the weights rounded to bf16, for
               q, k and v of bf16 on CPUs with AVX512-BF16; elsewhere the same bits, slower
               (docs/numerics.md, "Native bf16")
cache          a DenseKvCache, a layer of a PagedKvCache or BlockTables, in place of k and v
sequences      [B], those of the cache; default: 0, 1, ...
return_lse     also return lse [B, Hq, Tq] float32, ln sum_j exp(s_ij), the sink included
out            where to write o, of any of the three types; it is returned

Raises Error naming the argument. Other Python threads go on meanwhile.)";

}  // namespace

void bind_attention(nb::module_& m) {
  const auto none = nb::none();
  m.def(
      "attention",
      [](nb::handle q, nb::handle k, nb::handle v, nb::handle mask, std::optional<double> scale,
         std::optional<double> softcap, nb::handle sinks, nb::handle alibi,
         nb::handle relative_bias, nb::handle q_ranges, nb::handle kv_ranges,
         nb::handle q_positions, nb::handle kv_positions, std::string_view arithmetic,
         nb::handle bias, nb::handle cache, nb::handle sequences, bool return_lse, nb::handle out) {
        Call call({q, k, v, cache, sequences, bias, out});
        const Options options{mask,        scale,         softcap,   sinks,
                              alibi,       relative_bias, q_ranges,  kv_ranges,
                              q_positions, kv_positions,  arithmetic};
        const Problem problem = problem_of(call.inputs(), call.o_type(), options);
        return call.run(plan_of(problem, call.source()), return_lse);
      },
      "q"_a, "k"_a = none, "v"_a = none, nb::kw_only(), "mask"_a = none, "scale"_a = none,
      "softcap"_a = none, "sinks"_a = none, "alibi"_a = none, "relative_bias"_a = none,
      "q_ranges"_a = none, "kv_ranges"_a = none, "q_positions"_a = none, "kv_positions"_a = none,
      "arithmetic"_a = kF32Arithmetic, "bias"_a = none, "cache"_a = none, "sequences"_a = none,
      "return_lse"_a = false, "out"_a = none, nb::sig(kSignature), kDoc);
}

}  // namespace rapt::python
