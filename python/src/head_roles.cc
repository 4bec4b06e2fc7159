#include "head_roles.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "error.h"
#include "rapt/head_roles.h"
#include "threads.h"
#include "tokens.h"

namespace rapt::python {

using nb::literals::operator""_a;

namespace {

using Pair = std::pair<std::int64_t, std::int64_t>;

HeadRole role_of(const std::string& given, const char* where) {
  std::string names;
  for (int role = 0; role < kHeadRoles; ++role) {
    if (given == name(static_cast<HeadRole>(role))) return static_cast<HeadRole>(role);
    names += (role == 0 ? "" : "|") + std::string(name(static_cast<HeadRole>(role)));
  }
  refuse(where, names, given);
}

Pair pair_of(HeadIndex head) { return {head.layer, head.head}; }

std::optional<std::pair<double, double>> pair_of(const std::optional<Interval>& interval) {
  if (!interval) return {};
  return std::pair(interval->low, interval->high);
}

/// [L, Hq] of one role.
nb::object table(const HeadScores& scores, const std::vector<double>& values, std::int64_t first) {
  const std::int64_t all = scores.layers * scores.heads;
  const std::vector<double> part(values.begin() + first * all, values.begin() + (first + 1) * all);
  return nb::module_::import_("numpy").attr("array")(part).attr("reshape")(scores.layers,
                                                                           scores.heads);
}

HeadScores scores_of(const Model& model, nb::handle tokens, nb::handle beginning,
                     std::int64_t context, nb::handle token_class, nb::handle links,
                     const HeadInterventions& interventions, bool similarity) {
  const auto text = tokens_of(tokens, "head_scores.tokens");
  const auto begin = beginning.is_none() ? std::vector<std::int32_t>{}
                                         : tokens_of(beginning, "head_scores.beginning");
  HeadScoreOptions options;
  options.context = context;
  options.interventions = interventions;
  options.similarity = similarity;
  if (!token_class.is_none())
    for (const std::int64_t of_class : ints_of(token_class, "head_scores.token_class"))
      options.token_class.push_back(of_class != 0 ? 1 : 0);
  if (!links.is_none()) options.links = ints_of(links, "head_scores.links");
  const Threads pool = threads();
  const nb::gil_scoped_release release;
  return head_scores(model, pool, begin, text, options);
}

void bind_scores(nb::module_& m) {
  nb::class_<HeadScores>(m, "HeadScores",
                         "How strongly each head does what roles are, on one text.")
      .def(
          "scores",
          [](const HeadScores& self, const std::string& role) {
            return table(self, self.scores, static_cast<int>(role_of(role, "HeadScores.role")));
          },
          "role"_a, nb::sig("def scores(self, role: str) -> numpy.typing.NDArray[numpy.float64]"),
          "Scores of a role, [L, Hq], within [0, 1]; NaN where no row has such a key. role: "
          "previous\n"
          "token, duplicate token, induction, sink, local, broad, sentence start or bracket.")
      .def(
          "chances",
          [](const HeadScores& self, const std::string& role) {
            return table(self, self.chances, static_cast<int>(role_of(role, "HeadScores.role")));
          },
          "role"_a, nb::sig("def chances(self, role: str) -> numpy.typing.NDArray[numpy.float64]"),
          "The same of attention without preferences; 1 for broad.")
      .def_prop_ro(
          "entropy", [](const HeadScores& self) { return table(self, self.entropy, 0); },
          nb::for_getter(nb::sig("def entropy(self, /) -> numpy.typing.NDArray[numpy.float64]")),
          "Mean entropy of a row in nats, [L, Hq].")
      .def_prop_ro(
          "similarity",
          [](const HeadScores& self) {
            const nb::object all = nb::module_::import_("numpy").attr("array")(self.similarity);
            return nb::object(all.attr("reshape")(self.similarity.empty() ? 0 : self.layers,
                                                  self.heads, self.heads));
          },
          nb::for_getter(nb::sig("def similarity(self, /) -> numpy.typing.NDArray[numpy.float64]")),
          "How alike two heads of a layer attend, [L, Hq, Hq]: the mean over rows of the sum of\n"
          "sqrt(A B). Without similarity=True none, [0, Hq, Hq].");
  m.def(
      "head_scores", &scores_of, "model"_a, "tokens"_a, nb::kw_only(), "beginning"_a = nb::none(),
      "context"_a = 0, "token_class"_a = nb::none(), "links"_a = nb::none(),
      "interventions"_a = HeadInterventions(), "similarity"_a = false,
      nb::sig("def head_scores(model: Model, tokens: Ints, *, beginning: Ints | None = None,"
              " context: int = 0, token_class: Ints | None = None, links: Ints | None = None,"
              " interventions: HeadInterventions = ..., similarity: bool = False) -> HeadScores"),
      "Scores of all heads on one text, in windows of `context` tokens begun by `beginning`.\n"
      "token_class says which tokens are those of the role sentence start, links which token each\n"
      "is linked to, or -1, for bracket.");
}

void bind_roles(nb::module_& m) {
  nb::class_<HeadFinding>(m, "HeadFinding", "A head's score for a role over several texts.")
      .def_prop_ro("head", [](const HeadFinding& f) { return pair_of(f.head); })
      .def_prop_ro("role", [](const HeadFinding& f) { return std::string(name(f.role)); })
      .def_ro("texts", &HeadFinding::texts, "Those that have such keys.")
      .def_ro("score", &HeadFinding::score)
      .def_ro("chance", &HeadFinding::chance)
      .def_prop_ro(
          "excess", [](const HeadFinding& f) { return pair_of(f.excess); },
          "Interval of the mean of score - chance, at `level`; None with too few texts.")
      .def_ro("level", &HeadFinding::level,
              "0.95; where q <= 0.05, as much nearer to 1 as few heads of the role have that.")
      .def_ro("p", &HeadFinding::p)
      .def_ro("q", &HeadFinding::q, "p corrected for the number of heads; None for broad.")
      .def_ro("named", &HeadFinding::named, "Whether the head has this role.");
  nb::class_<HeadRoles>(m, "HeadRoles", "What texts say of all heads and roles.")
      .def_ro("findings", &HeadRoles::findings)
      .def_ro("texts_needed", &HeadRoles::texts_needed,
              "Texts of each role, to tell one head from chance.");
  nb::class_<ScoreChange>(m, "ScoreChange",
                          "How an intervention changes a head's score for a role.")
      .def_prop_ro("head", [](const ScoreChange& c) { return pair_of(c.head); })
      .def_prop_ro("role", [](const ScoreChange& c) { return std::string(name(c.role)); })
      .def_ro("before", &ScoreChange::before)
      .def_ro("after", &ScoreChange::after)
      .def_prop_ro(
          "change", [](const ScoreChange& c) { return pair_of(c.change); },
          "95% interval of the mean of after - before; None with too few texts.")
      .def_ro("p", &ScoreChange::p)
      .def_ro("q", &ScoreChange::q);
  m.def(
      "find_head_roles",
      [](const std::vector<HeadScores>& texts) { return find_head_roles(texts); }, "texts"_a,
      "Weighs the scores of several texts. A head is named where q <= 0.05 and the low end of\n"
      "its excess is at least 0.3 (1 - chance); for broad, where that of its score is 0.9.");
  m.def(
      "score_changes",
      [](const std::vector<HeadScores>& before, const std::vector<HeadScores>& after,
         const std::vector<HeadFinding>& which) { return score_changes(before, after, which); },
      "before"_a, "after"_a, "which"_a,
      "The changes of these heads' scores between two runs on the same texts. Of heads that the\n"
      "same texts named, part of a fall is that chance had raised their scores.");
}

}  // namespace

void bind_head_roles(nb::module_& m) {
  bind_scores(m);
  bind_roles(m);
}

}  // namespace rapt::python
