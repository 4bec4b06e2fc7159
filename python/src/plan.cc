#include "plan.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "call.h"
#include "error.h"
#include "options.h"
#include "plans.h"
#include "rapt/kept_mass.h"
#include "threads.h"

namespace rapt::python {

using nb::literals::operator""_a;

namespace {

/// A state, and the library and type of what it is finished as.
struct PyState {
  State state;
  Library library;
  DType o;
};

PyState run_partial(const Plan& plan, const Call& call, std::int64_t begin, std::int64_t end) {
  const BorrowedScratch scratch;
  const nb::gil_scoped_release release;
  return {rapt::run_partial(plan, call.inputs(), *scratch, {begin, end}), call.library(),
          plan.problem().storage.o};
}

nb::object finish(const PyState& s) {
  const NewResult made(s.library, s.o, s.state.o_extents);
  const Result result = made.result();
  {
    const nb::gil_scoped_release release;
    rapt::finish(s.state, result);
  }
  return made.pair();
}

nb::object merge_finished(nb::handle a_o, nb::handle a_lse, nb::handle b_o, nb::handle b_lse) {
  const Array arrays[] = {{a_o, "merge_finished.a_o"},
                          {a_lse, "merge_finished.a_lse"},
                          {b_o, "merge_finished.b_o"},
                          {b_lse, "merge_finished.b_lse"}};
  // The C++ takes results, whose views are to write to; it only reads these two.
  const auto result_of = [](const Array& o, const Array& lse) {
    const AnyConstTensor o_view = o.view();
    const ConstTensor lse_view = lse.f32_view(3);
    return Result{
        .o = {const_cast<void*>(o_view.data), o_view.dtype, o_view.extents, o_view.strides},
        .lse = {const_cast<float*>(lse_view.data), lse_view.extents, lse_view.strides},
        .m = {},
        .l = {}};
  };
  const Result a = result_of(arrays[0], arrays[1]), b = result_of(arrays[2], arrays[3]);
  const NewResult made(arrays[0].library(), a.o.dtype, a.o.extents);
  rapt::merge_finished(a, b, made.result());
  return made.pair();
}

nb::object attention_rows(const Plan& plan, const Call& call, nb::handle rows,
                          const std::string& kind) {
  if (kind != "weights" && kind != "scores")
    refuse("attention_rows.kind", "weights or scores", kind);
  const Problem& p = plan.problem();
  const std::vector<std::int64_t> list = ints_of(rows, "attention_rows.rows");
  const Array out =
      Array::empty(call.library(), DType::kF32,
                   {p.batch, p.q_heads, static_cast<std::int64_t>(list.size()), p.kv_tokens});
  const BorrowedScratch scratch;
  const MutableTensor view = out.mutable_f32_view();
  {
    const nb::gil_scoped_release release;
    rapt::attention_rows(plan, call.inputs(), *scratch, list, view,
                         kind == "weights" ? RowKind::kWeights : RowKind::kScores);
  }
  return out.object();
}

struct PyProblem {
  Problem problem;
};

void bind_problem(nb::module_& m) {
  const auto none = nb::none();
  nb::class_<PyProblem>(m, "Problem",
                        "One attention problem, without its tensors; the arguments are those of "
                        "`attention`.")
      .def(
          "__init__",
          [](PyProblem* self, std::int64_t q_tokens, std::int64_t kv_tokens, std::int64_t q_heads,
             std::int64_t head_dim, std::int64_t batch, std::optional<std::int64_t> kv_heads,
             std::optional<std::int64_t> v_head_dim, const std::vector<std::string>& dtypes,
             bool additive_bias, nb::handle mask, std::optional<double> scale,
             std::optional<double> softcap, nb::handle sinks, nb::handle alibi,
             nb::handle relative_bias, nb::handle q_ranges, nb::handle kv_ranges,
             nb::handle q_positions, nb::handle kv_positions, std::string_view arithmetic) {
            Problem p;
            p.batch = batch;
            p.q_tokens = q_tokens;
            p.kv_tokens = kv_tokens;
            p.q_heads = q_heads;
            p.kv_heads = kv_heads.value_or(q_heads);
            p.head_dim = head_dim;
            p.v_head_dim = v_head_dim.value_or(head_dim);
            p.modifiers.additive_bias = additive_bias;
            const char* where = "Problem.dtypes";
            if (dtypes.size() != 4)
              refuse(where, "those of q, k, v and o", std::to_string(dtypes.size()));
            p.storage = {dtype_of(dtypes[0], where), cache_type_of(dtypes[1], where),
                         cache_type_of(dtypes[2], where), dtype_of(dtypes[3], where)};
            const Options options{mask,        scale,         softcap,   sinks,
                                  alibi,       relative_bias, q_ranges,  kv_ranges,
                                  q_positions, kv_positions,  arithmetic};
            options.set(p);
            p.validate();
            new (self) PyProblem{std::move(p)};
          },
          nb::kw_only(), "q_tokens"_a, "kv_tokens"_a, "q_heads"_a, "head_dim"_a, "batch"_a = 1,
          "kv_heads"_a = none, "v_head_dim"_a = none,
          "dtypes"_a = std::vector<std::string>(4, "float32"), "additive_bias"_a = false,
          "mask"_a = none, "scale"_a = none, "softcap"_a = none, "sinks"_a = none, "alibi"_a = none,
          "relative_bias"_a = none, "q_ranges"_a = none, "kv_ranges"_a = none,
          "q_positions"_a = none, "kv_positions"_a = none, "arithmetic"_a = kF32Arithmetic,
          nb::sig(
              "def __init__(self, *, q_tokens: int, kv_tokens: int, q_heads: int, head_dim: int,"
              " batch: int = 1, kv_heads: int | None = None, v_head_dim: int | None = None,"
              " dtypes: Sequence[str] = ..., additive_bias: bool = False, " RAPT_OPTIONS
              ") -> None"),
          "kv_heads None means q_heads, v_head_dim None head_dim; dtypes are those of q, k, v and "
          "o,\n"
          "each float32, bfloat16 or float16, or int8 or fp8_e4m3 of k and v in pages; "
          "additive_bias\n"
          "says that a bias will be given.")
      .def_prop_ro(
          "visible_pairs",
          [](const PyProblem& p) {
            const nb::gil_scoped_release release;
            return p.problem.visible_pairs();
          },
          "(query, key) pairs that are visible, over all sequences and query heads.");
}

void bind_plan_type(nb::module_& m) {
  nb::class_<Plan>(m, "Plan", "What make_plan decided: kernels, tiles, work items, memory.")
      .def_prop_ro("scratch_bytes", &Plan::scratch_bytes,
                   "Working memory of a run: O(tokens), never O(Tq Tk).")
      .def("explain", nb::overload_cast<>(&Plan::explain, nb::const_),
           "The decisions and their reasons, one `name: value` a line.")
      .def("explain", nb::overload_cast<const std::string&>(&Plan::explain, nb::const_), "name"_a,
           "The value of one line; empty if there is no such line.");
  m.def(
      "make_plan",
      [](const PyProblem& p, bool from_cache, bool from_pages, nb::handle cache) {
        if (!cache.is_none())
          return new_plan(p.problem, find_cache(cache, "make_plan.cache").source);
        return new_plan(p.problem, from_pages   ? KvSource::kPages
                                   : from_cache ? KvSource::kCache
                                                : KvSource::kTensors);
      },
      "problem"_a, nb::kw_only(), "from_cache"_a = false, "from_pages"_a = false,
      "cache"_a = nb::none(),
      nb::sig(
          "def make_plan(problem: Problem, *, from_cache: bool = False, from_pages: bool = False,"
          " cache: DenseKvCache | KvTiles | BlockTables | None = None) -> Plan"),
      "Checks `problem`, and chooses kernels, tiles and the split of the work, for tensors, for a\n"
      "DenseKvCache or for layers of a PagedKvCache, or for such as `cache` is, on the threads "
      "that\n"
      "set_threads has said.");
}

void bind_runs(nb::module_& m) {
  const auto none = nb::none();
  m.def(
      "run",
      [](const Plan& plan, nb::handle q, nb::handle k, nb::handle v, nb::handle cache,
         nb::handle sequences, nb::handle bias, bool return_lse, nb::handle out) {
        return Call({q, k, v, cache, sequences, bias, out}).run(plan, return_lse);
      },
      "plan"_a, "q"_a, "k"_a = none, "v"_a = none, nb::kw_only(), "cache"_a = none,
      "sequences"_a = none, "bias"_a = none, "return_lse"_a = false, "out"_a = none,
      nb::sig("def run(plan: Plan, q: Array, k: Array | None = None, v: Array | None = None, "
              "*," RAPT_CACHE " bias: Array | None = None,"
              " return_lse: bool = False, out: Array | None = None) -> typing.Any"),
      "Runs `plan`: what `attention` gives for its problem, without planning.");
  m.def(
      "run_partial",
      [](const Plan& plan, nb::handle q, nb::handle k, nb::handle v, std::int64_t begin,
         std::int64_t end, nb::handle cache, nb::handle sequences, nb::handle bias) {
        const Call call({q, k, v, cache, sequences, bias, nb::none()});
        return run_partial(plan, call, begin, end);
      },
      "plan"_a, "q"_a, "k"_a = none, "v"_a = none, nb::kw_only(), "begin"_a, "end"_a,
      "cache"_a = none, "sequences"_a = none, "bias"_a = none,
      nb::sig(
          "def run_partial(plan: Plan, q: Array, k: Array | None = None, v: Array | None = None,"
          " *, begin: int, end: int," RAPT_CACHE " bias: Array | None = None) -> State"),
      "Runs `plan` over the keys of chunks [begin, end) only; a chunk is CHUNK slots. States of\n"
      "adjacent ranges, merged and finished, give the bits of `run`.");
  m.def(
      "attention_rows",
      [](const Plan& plan, nb::handle q, nb::handle k, nb::handle v, nb::handle rows,
         const std::string& kind, nb::handle cache, nb::handle sequences, nb::handle bias) {
        const Call call({q, k, v, cache, sequences, bias, nb::none()});
        return attention_rows(plan, call, rows, kind);
      },
      "plan"_a, "q"_a, "k"_a = none, "v"_a = none, nb::kw_only(), "rows"_a, "kind"_a = "weights",
      "cache"_a = none, "sequences"_a = none, "bias"_a = none,
      nb::sig("def attention_rows(plan: Plan, q: Array, k: Array | None = None,"
              " v: Array | None = None, *, rows: Ints, kind: str = 'weights'," RAPT_CACHE
              " bias: Array | None = None) -> typing.Any"),
      "Rows of the attention matrix, float32 [B, Hq, rows, Tk]: \"weights\", or the \"scores\" "
      "before\n"
      "the softmax, -inf where hidden. For checking and for teaching.");
}

void bind_states(nb::module_& m) {
  m.attr("CHUNK") = kChunk;
  nb::class_<PyState>(m, "State",
                      "Unfinished attention over a range of chunks: (m, l, acc) of its subtrees.")
      .def_prop_ro("chunks", [](const PyState& s) {
        return std::pair(s.state.chunks.begin, s.state.chunks.end);
      });
  m.def(
      "merge",
      [](const PyState& a, const PyState& b) {
        const nb::gil_scoped_release release;
        return PyState{merge(a.state, b.state), a.library, a.o};
      },
      "a"_a, "b"_a, "State over the union of two adjacent ranges, whatever the order of merges.");
  m.def("finish", &finish, "state"_a,
        nb::sig("def finish(state: State) -> tuple[typing.Any, typing.Any]"),
        "(o, lse) of a state, as `run` gives them for the same chunks.");
  m.def("merge_finished", &merge_finished, "a_o"_a, "a_lse"_a, "b_o"_a, "b_lse"_a,
        nb::sig("def merge_finished(a_o: Array, a_lse: Array, b_o: Array, b_lse: Array)"
                " -> tuple[typing.Any, typing.Any]"),
        "(o, lse) over the keys of both, which are disjoint: weights exp(lse_x - lse). Within the\n"
        "error bound, but not the bits of one run.\n\n"
        "o  [B, Tq, Hq, Dv]   lse  [B, Hq, Tq]");
}

void bind_kept_mass(nb::module_& m) {
  const auto none = nb::none();
  nb::class_<KeptMass>(m, "KeptMass",
                       "What a sparser mask keeps of the attention of one query head.")
      .def_ro("mean", &KeptMass::mean, "Over the rows.")
      .def_ro("least", &KeptMass::least, "Of the row that loses most.")
      .def_ro("rows", &KeptMass::rows, "In which a key has a weight under the problem's own mask.");
  m.def(
      "kept_mass",
      [](const PyProblem& p, const Mask& sparse, nb::handle q, nb::handle k, nb::handle v,
         nb::handle cache, nb::handle bias) {
        const Call call({q, k, v, cache, nb::none(), bias, nb::none()});
        const BorrowedScratch scratch;
        const Threads pool = threads();
        const nb::gil_scoped_release release;
        return kept_mass(p.problem, sparse, call.inputs(), pool, *scratch);
      },
      "problem"_a, "sparse"_a, "q"_a, "k"_a = none, "v"_a = none, nb::kw_only(), "cache"_a = none,
      "bias"_a = none,
      nb::sig("def kept_mass(problem: Problem, sparse: Mask, q: Array, k: Array | None = None,"
              " v: Array | None = None, *, cache: DenseKvCache | None = None,"
              " bias: Array | None = None) -> list[KeptMass]"),
      "Attention mass that `sparse` keeps, one figure a query head: for every row the share of "
      "its\n"
      "keys' weights under the problem's mask that is on keys which `sparse` shows as well. Sinks "
      "take\n"
      "no part. Two runs of attention; what is kept says how much weight stays where it was, not "
      "how\n"
      "much worse the output is.");
}

}  // namespace

void bind_plan(nb::module_& m) {
  bind_problem(m);
  bind_plan_type(m);
  bind_states(m);
  bind_runs(m);
  bind_kept_mass(m);
}

}  // namespace rapt::python
