#include "retrieval.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <utility>
#include <vector>

#include "call.h"
#include "options.h"
#include "plans.h"
#include "rapt/retrieval.h"
#include "threads.h"
#include "tokens.h"

namespace rapt::python {

using nb::literals::operator""_a;

namespace {

#define RAPT_SCORES                                                                           \
  "mask: Mask | None = None, scale: float | None = None, softcap: float | None = None,"       \
  " alibi: Floats | None = None, relative_bias: RelativeBias | None = None,"                  \
  " q_ranges: IntLists | None = None, kv_ranges: IntLists | None = None,"                     \
  " q_positions: Ints | IntLists | None = None, kv_positions: Ints | IntLists | None = None," \
  " bias: Array | None = None,"

/// A score has no value: k stands for those that a call is to have.
Given with_values(nb::handle q, nb::handle k, nb::handle cache, nb::handle sequences,
                  nb::handle bias) {
  return {q, k, k, cache, sequences, bias, nb::none()};
}

void bind_top_keys(nb::module_& m) {
  const auto none = nb::none();
  m.def(
      "top_keys",
      [](nb::handle q, nb::handle k, nb::handle rows, std::int64_t count, nb::handle mask,
         std::optional<double> scale, std::optional<double> softcap, nb::handle alibi,
         nb::handle relative_bias, nb::handle q_ranges, nb::handle kv_ranges,
         nb::handle q_positions, nb::handle kv_positions, nb::handle bias, nb::handle cache,
         nb::handle sequences) {
        const Call call(with_values(q, k, cache, sequences, bias));
        const Options options{mask,        scale,         softcap,  nb::handle(Py_None),
                              alibi,       relative_bias, q_ranges, kv_ranges,
                              q_positions, kv_positions};
        const Problem problem = problem_of(call.inputs(), DType::kF32, options);
        const std::vector<std::int64_t> wanted = ints_of(rows, "top_keys.rows");
        const BorrowedScratch scratch;
        const Threads pool = threads();
        std::vector<std::int64_t> keys;
        {
          const nb::gil_scoped_release release;
          keys = top_keys(problem, call.inputs(), wanted, count, pool, *scratch);
        }
        return nb::module_::import_("numpy").attr("array")(keys).attr("reshape")(
            problem.batch, problem.q_heads, wanted.size(), count);
      },
      "q"_a, "k"_a = none, nb::kw_only(), "rows"_a, "count"_a = 1, "mask"_a = none,
      "scale"_a = none, "softcap"_a = none, "alibi"_a = none, "relative_bias"_a = none,
      "q_ranges"_a = none, "kv_ranges"_a = none, "q_positions"_a = none, "kv_positions"_a = none,
      "bias"_a = none, "cache"_a = none, "sequences"_a = none,
      nb::sig("def top_keys(q: Array, k: Array | None = None, *, rows: Ints, count: int = "
              "1, " RAPT_SCORES RAPT_CACHE ") -> numpy.typing.NDArray[numpy.int64]"),
      "The `count` keys with the largest scores of some query tokens, [B, Hq, rows, count], by\n"
      "descending score; -1 where a row sees fewer. The other arguments are those of `attention`.");
}

void bind_scores(nb::module_& m) {
  const auto none = nb::none();
  m.def(
      "retrieval_scores",
      [](nb::handle q, nb::handle k, nb::handle rows, nb::handle emitted, nb::handle tokens,
         std::pair<std::int64_t, std::int64_t> needle, nb::handle mask, std::optional<double> scale,
         std::optional<double> softcap, nb::handle alibi, nb::handle relative_bias,
         nb::handle q_ranges, nb::handle kv_ranges, nb::handle q_positions, nb::handle kv_positions,
         nb::handle bias, nb::handle cache, nb::handle sequences) {
        const Call call(with_values(q, k, cache, sequences, bias));
        const Options options{mask,        scale,         softcap,  nb::handle(Py_None),
                              alibi,       relative_bias, q_ranges, kv_ranges,
                              q_positions, kv_positions};
        const Problem problem = problem_of(call.inputs(), DType::kF32, options);
        const RetrievalRun run{ints_of(rows, "retrieval_scores.rows"),
                               tokens_of(emitted, "retrieval_scores.emitted"),
                               tokens_of(tokens, "retrieval_scores.tokens"),
                               {needle.first, needle.second}};
        const BorrowedScratch scratch;
        const Threads pool = threads();
        const nb::gil_scoped_release release;
        return retrieval_scores(problem, call.inputs(), run, pool, *scratch);
      },
      "q"_a, "k"_a = none, nb::kw_only(), "rows"_a, "emitted"_a, "tokens"_a, "needle"_a,
      "mask"_a = none, "scale"_a = none, "softcap"_a = none, "alibi"_a = none,
      "relative_bias"_a = none, "q_ranges"_a = none, "kv_ranges"_a = none, "q_positions"_a = none,
      "kv_positions"_a = none, "bias"_a = none, "cache"_a = none, "sequences"_a = none,
      nb::sig("def retrieval_scores(q: Array, k: Array | None = None, *, rows: Ints, emitted: Ints,"
              " tokens: Ints, needle: tuple[int, int], " RAPT_SCORES RAPT_CACHE ") -> list[float]"),
      R"(How much of a needle each query head of one text copied, [Hq]: the tokens, each once, for
which the head's top key lay in the needle and was the token that was written, over the needle's
length.

rows      query tokens at which a token was written; emitted has the token of each
tokens    ids of the text, [Tk]
needle    its keys, [begin, end))");
}

}  // namespace

void bind_retrieval(nb::module_& m) {
  bind_top_keys(m);
  bind_scores(m);
}

}  // namespace rapt::python
