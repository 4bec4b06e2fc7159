#include "attention.h"

#include <nanobind/stl/optional.h>

#include "array.h"
#include "error.h"
#include "options.h"
#include "plans.h"

namespace rapt::python {

namespace {

using nb::literals::operator""_a;

/// Tensors of one call: what it reads, and what it writes or makes.
struct Call {
  Array q, k, v;
  std::optional<Array> bias, out, lse;
};

void check_out(const Inputs& inputs, const AnyTensor& o) {
  for (const AnyConstTensor& in : {inputs.q, inputs.k, inputs.v})
    if (overlap(o, in)) refuse("attention.out", "memory of its own", "memory of q, k or v");
}

nb::object attention(Call& call, const Options& options, bool return_lse) {
  Inputs inputs{.q = call.q.view(), .k = call.k.view(), .v = call.v.view()};
  Problem problem = problem_of(inputs.q, inputs.k, inputs.v, options);
  if (call.bias) {
    problem.modifiers.additive_bias = true;
    inputs.bias = call.bias->f32_view();
  }
  Result result;
  if (call.out) {
    result.o = call.out->mutable_view();
    problem.storage.o = result.o.dtype;
    check_out(inputs, result.o);
  } else {
    call.out =
        Array::empty(call.q, inputs.q.dtype,
                     {problem.batch, problem.q_tokens, problem.q_heads, problem.value_dim()});
    result.o = call.out->mutable_view();
  }
  const Plan plan = plan_of(problem, KvSource::kTensors);
  if (return_lse) {
    call.lse =
        Array::empty(call.q, DType::kF32, {problem.batch, problem.q_heads, problem.q_tokens});
    result.lse = call.lse->mutable_f32_view(3);
  }
  const BorrowedScratch scratch;
  {
    const nb::gil_scoped_release release;
    run(plan, inputs, *scratch, result);
  }
  if (!return_lse) return call.out->object();
  return nb::make_tuple(call.out->object(), call.lse->object());
}

constexpr const char* kSignature =
    "def attention(q: Array, k: Array, v: Array, *, mask: Mask | None = None,"
    " scale: float | None = None, softcap: float | None = None, sinks: Floats | None = None,"
    " bias: Array | None = None, alibi: Floats | None = None,"
    " relative_bias: RelativeBias | None = None, q_ranges: IntLists | None = None,"
    " kv_ranges: IntLists | None = None, q_positions: Ints | IntLists | None = None,"
    " kv_positions: Ints | IntLists | None = None, return_lse: bool = False,"
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
return_lse     also return lse [B, Hq, Tq] float32, ln sum_j exp(s_ij), the sink included
out            where to write o, of any of the three types; it is returned

Raises Error naming the argument. Other Python threads go on meanwhile.)";

}  // namespace

void bind_attention(nb::module_& m) {
  const auto none = nb::none();
  m.def(
      "attention",
      [](nb::handle q, nb::handle k, nb::handle v, nb::handle mask, std::optional<double> scale,
         std::optional<double> softcap, nb::handle sinks, nb::handle bias, nb::handle alibi,
         nb::handle relative_bias, nb::handle q_ranges, nb::handle kv_ranges,
         nb::handle q_positions, nb::handle kv_positions, bool return_lse, nb::handle out) {
        Call call{
            Array(q, "attention.q"), Array(k, "attention.k"), Array(v, "attention.v"), {}, {}, {}};
        if (!bias.is_none()) call.bias = Array(bias, "attention.bias");
        if (!out.is_none()) call.out = Array(out, "attention.out");
        const Options options{mask,          scale,    softcap,   sinks,       alibi,
                              relative_bias, q_ranges, kv_ranges, q_positions, kv_positions};
        return attention(call, options, return_lse);
      },
      "q"_a, "k"_a, "v"_a, nb::kw_only(), "mask"_a = none, "scale"_a = none, "softcap"_a = none,
      "sinks"_a = none, "bias"_a = none, "alibi"_a = none, "relative_bias"_a = none,
      "q_ranges"_a = none, "kv_ranges"_a = none, "q_positions"_a = none, "kv_positions"_a = none,
      "return_lse"_a = false, "out"_a = none, nb::sig(kSignature), kDoc);
}

}  // namespace rapt::python
