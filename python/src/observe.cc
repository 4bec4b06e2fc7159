#include "observe.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "call.h"
#include "error.h"
#include "options.h"
#include "plans.h"
#include "rapt/copying.h"
#include "rapt/head_similarity.h"
#include "rapt/observe_layers.h"
#include "rapt/pooled_map.h"
#include "rapt/received.h"
#include "threads.h"
#include "tokens.h"

namespace rapt::python {

using nb::literals::operator""_a;

namespace {

/// Statistics, and the library that arrays of them are to be of.
struct PyHeadStatistics {
  HeadStatistics statistics;
  Library library;
};

RowMetric metric_of(const std::string& given, const char* where) {
  std::string all;
  for (const RowMetric metric : row_metrics()) {
    if (given == name(metric)) return metric;
    all += (all.empty() ? "" : ", ") + std::string(name(metric));
  }
  refuse(where, "one of " + all, given);
}

/// What is to be looked at, as it was given.
struct Wanted {
  const std::vector<std::string>& metrics;
  bool distances;
  std::int64_t sink_tokens, window;
  nb::handle tokens, token_class, links;
  bool keep_rows;

  ObserveOptions options() const {
    ObserveOptions options;
    for (const std::string& each : metrics)
      options.metrics.push_back(metric_of(each, "observe.metrics"));
    options.distances = distances;
    options.sink_tokens = sink_tokens;
    options.window = window;
    options.keep_rows = keep_rows;
    for_each_list(tokens, [&](nb::handle list) {
      const auto ids = tokens_of(list, "observe.tokens");
      options.tokens.insert(options.tokens.end(), ids.begin(), ids.end());
    });
    for_each_list(token_class, [&](nb::handle list) {
      for (const std::int64_t x : ints_of(list, "observe.token_class"))
        options.token_class.push_back(x != 0);
    });
    for_each_list(links, [&](nb::handle list) {
      const auto keys = ints_of(list, "observe.links");
      options.links.insert(options.links.end(), keys.begin(), keys.end());
    });
    return options;
  }

 private:
  /// One list, or one for each sequence.
  template <class F>
  static void for_each_list(nb::handle given, F&& f) {
    if (given.is_none()) return;
    const nb::object items = nb::borrow(given);
    if (nb::len(items) == 0) return;
    if (nb::hasattr(nb::object(items[0]), "__len__") && nb::len(nb::object(items[0])) > 0)
      for (std::size_t b = 0; b < nb::len(items); ++b) f(nb::object(items[b]));
    else
      f(given);
  }
};

/// k where there is no v: statistics read none.
Given with_values(nb::handle q, nb::handle k, nb::handle cache, nb::handle sequences,
                  nb::handle bias) {
  return {q, k, k, cache, sequences, bias, nb::none()};
}

std::vector<double> means(const HeadStatistics& s, RowMetric metric,
                          std::optional<std::int64_t> sequence) {
  std::vector<double> of_heads;
  for (std::int64_t h = 0; h < s.heads; ++h)
    of_heads.push_back(sequence ? s.mean(metric, h, *sequence) : s.mean(metric, h));
  return of_heads;
}

nb::object rows(const PyHeadStatistics& self, RowMetric metric) {
  const HeadStatistics& s = self.statistics;
  const Array out = Array::empty(self.library, DType::kF32, {s.batch, s.heads, s.q_tokens});
  const MutableTensor to = out.mutable_f32_view(3);
  for (std::int64_t b = 0; b < s.batch; ++b)
    for (std::int64_t h = 0; h < s.heads; ++h) {
      const std::span<const float> values = s.row_values(metric, b, h);
      for (std::int64_t i = 0; i < s.q_tokens; ++i)
        to.at(0, b, h, i) = values[static_cast<std::size_t>(i)];
    }
  return out.object();
}

/// Doubles as a new array of floats.
nb::object array_of(const Library& library, std::vector<std::int64_t> extents, int axes,
                    const std::vector<double>& values) {
  const Array out = Array::empty(library, DType::kF32, std::move(extents));
  const MutableTensor to = out.mutable_f32_view(axes);
  std::transform(values.begin(), values.end(), to.data,
                 [](double x) { return static_cast<float>(x); });
  return out.object();
}

void bind_head_statistics(nb::module_& m) {
  const char* where = "HeadStatistics.metric";
  nb::class_<PyHeadStatistics>(m, "HeadStatistics", "Statistics of the rows of every query head.")
      .def_prop_ro("metrics",
                   [](const PyHeadStatistics& self) {
                     std::vector<std::string> names;
                     for (const RowMetric metric : self.statistics.metrics)
                       names.emplace_back(name(metric));
                     return names;
                   })
      .def_prop_ro("batch", [](const PyHeadStatistics& self) { return self.statistics.batch; })
      .def_prop_ro("heads", [](const PyHeadStatistics& self) { return self.statistics.heads; })
      .def(
          "mean",
          [where](const PyHeadStatistics& self, const std::string& metric,
                  std::optional<std::int64_t> sequence) {
            return means(self.statistics, metric_of(metric, where), sequence);
          },
          "metric"_a, "sequence"_a = nb::none(),
          "Means of a metric over the rows that count, [Hq]: of all sequences or of one. NaN "
          "where\n"
          "there is no such row.")
      .def(
          "count",
          [where](const PyHeadStatistics& self, const std::string& metric) {
            std::vector<std::int64_t> counts;
            for (std::int64_t h = 0; h < self.statistics.heads; ++h)
              counts.push_back(self.statistics.count(metric_of(metric, where), h));
            return counts;
          },
          "metric"_a, "Rows that count, [Hq].")
      .def(
          "distance_mass",
          [](const PyHeadStatistics& self) {
            std::vector<std::vector<double>> of_heads;
            for (std::int64_t h = 0; h < self.statistics.heads; ++h)
              of_heads.push_back(self.statistics.distance_mass(h));
            return of_heads;
          },
          "Mean mass by distance d = i - j, a list for each head: d < 0, d = 0, d = 1, 2 <= d < "
          "4,\n"
          "4 <= d < 8, and so on.")
      .def(
          "rows",
          [where](const PyHeadStatistics& self, const std::string& metric) {
            return rows(self, metric_of(metric, where));
          },
          "metric"_a, nb::sig("def rows(self, metric: str) -> typing.Any"),
          "A metric of every row, float32 [B, Hq, Tq], with keep_rows; 0 where a row does not "
          "count.");
}

constexpr const char* kWantedDoc =
    R"(
metrics      entropy, normalised_entropy, support (e^H), renyi_support (1 / sum A^2), confidence
             (largest weight), lookback (mean distance), sink_mass (of the first sink_tokens keys),
             learned_sink, previous_token, locality (nearer than window), duplicate_token and
             induction (of tokens), token_class, link (to the key that links has for the query),
             weighted_mass (in `observe`: sum of A w, w the key_weights [B, Hq, Tk], norms of
             W_O v for example)
distances    the mass by distance, too
tokens       ids by key, [Tk] or [B, Tk]; token_class, of the same length, is not 0 for keys of the class
links        by query, [Tq] or [B, Tq]: a key token, or -1
keep_rows    keep the figures of every row)";

std::string documented(const char* first) { return std::string(first) + kWantedDoc; }

#define RAPT_WANTED                                                                       \
  "metrics: Sequence[str] = ('entropy',), distances: bool = False, sink_tokens: int = 1," \
  " window: int = 128, tokens: Ints | IntLists | None = None,"                            \
  " token_class: Ints | IntLists | None = None, links: Ints | IntLists | None = None,"    \
  " keep_rows: bool = False"

using Look = HeadStatistics(const Problem&, const Inputs&, const ObserveOptions&, const Threads&,
                            Scratch&);

void bind_look(nb::module_& m, const char* called, Look* look, const nb::sig& signature,
               const char* doc) {
  const auto none = nb::none();
  m.def(
      called,
      [look](nb::handle q, nb::handle k, const std::vector<std::string>& metrics, bool distances,
             std::int64_t sink_tokens, std::int64_t window, nb::handle tokens,
             nb::handle token_class, nb::handle links, bool keep_rows, nb::handle mask,
             std::optional<double> scale, std::optional<double> softcap, nb::handle sinks,
             nb::handle alibi, nb::handle relative_bias, nb::handle q_ranges, nb::handle kv_ranges,
             nb::handle q_positions, nb::handle kv_positions, std::string_view arithmetic,
             nb::handle bias, nb::handle cache, nb::handle sequences, nb::handle key_weights) {
        const Call call(with_values(q, k, cache, sequences, bias));
        const Options options{mask,        scale,         softcap,   sinks,
                              alibi,       relative_bias, q_ranges,  kv_ranges,
                              q_positions, kv_positions,  arithmetic};
        const Problem problem = problem_of(call.inputs(), DType::kF32, options);
        ObserveOptions wanted =
            Wanted{metrics, distances, sink_tokens, window, tokens, token_class, links, keep_rows}
                .options();
        std::optional<Array> weights;  // lives as long as its view
        if (!key_weights.is_none()) {
          weights.emplace(key_weights, "observe.key_weights");
          wanted.key_weights = weights->f32_view(3);
        }
        const BorrowedScratch scratch;
        const Threads pool = threads();
        PyHeadStatistics made{{}, call.library()};
        const nb::gil_scoped_release release;
        made.statistics = look(problem, call.inputs(), wanted, pool, *scratch);
        return made;
      },
      "q"_a, "k"_a = none, nb::kw_only(), "metrics"_a = std::vector<std::string>{"entropy"},
      "distances"_a = false, "sink_tokens"_a = 1, "window"_a = 128, "tokens"_a = none,
      "token_class"_a = none, "links"_a = none, "keep_rows"_a = false, "mask"_a = none,
      "scale"_a = none, "softcap"_a = none, "sinks"_a = none, "alibi"_a = none,
      "relative_bias"_a = none, "q_ranges"_a = none, "kv_ranges"_a = none, "q_positions"_a = none,
      "kv_positions"_a = none, "arithmetic"_a = kF32Arithmetic, "bias"_a = none, "cache"_a = none,
      "sequences"_a = none, "key_weights"_a = none, signature, doc);
}

#define RAPT_LOOK                                                        \
  "(q: Array, k: Array | None = None, *, " RAPT_WANTED ", " RAPT_OPTIONS \
  ", bias: Array | None = None," RAPT_CACHE " key_weights: Array | None = None) -> HeadStatistics"

void bind_looks(nb::module_& m) {
  static const std::string doc = documented(
      "Looks at attention: statistics of every row and query head of A = softmax of the scores, "
      "in\n"
      "one pass over q and k and O(T) memory. The other arguments are those of `attention`.\n");
  bind_look(m, "observe", observe, nb::sig("def observe" RAPT_LOOK), doc.c_str());
  bind_look(
      m, "observe_uniform",
      [](const Problem& problem, const Inputs&, const ObserveOptions& options,
         const Threads& threads,
         Scratch& scratch) { return observe_uniform(problem, options, threads, scratch); },
      nb::sig("def observe_uniform" RAPT_LOOK),
      "What `observe` gives by chance: every key that the mask shows to a row has the same "
      "weight,\n"
      "whatever q and k are; sinks, biases and the other changes of scores take no part. Called "
      "as\n"
      "`observe` is.");
}

void bind_layers(nb::module_& m) {
  const auto none = nb::none();
  const std::vector<std::string> entropy = {"entropy"};
  static const std::string layers_doc = documented(
      "Statistics of every layer of a model on a text, in one run. `tokens` are the text's, and "
      "the\n"
      "lists by token are of its length.\n");
  m.def(
      "observe_layers",
      [](const Model& model, nb::handle text, const std::vector<std::string>& metrics,
         bool distances, std::int64_t sink_tokens, std::int64_t window, nb::handle token_class,
         nb::handle links, bool keep_rows) {
        const std::vector<std::int32_t> ids = tokens_of(text, "observe_layers.text");
        const ObserveOptions wanted = Wanted{metrics,    distances,   sink_tokens, window,
                                             nb::none(), token_class, links,       keep_rows}
                                          .options();
        const Threads pool = threads();
        std::vector<HeadStatistics> layers;
        {
          const nb::gil_scoped_release release;
          layers = rapt::observe_layers(model, ids, wanted, pool);
        }
        nb::list made;
        for (HeadStatistics& layer : layers)
          made.append(nb::cast(PyHeadStatistics{std::move(layer), {}}));
        return made;
      },
      "model"_a, "text"_a, nb::kw_only(), "metrics"_a = entropy, "distances"_a = false,
      "sink_tokens"_a = 1, "window"_a = 128, "token_class"_a = none, "links"_a = none,
      "keep_rows"_a = false,
      nb::sig(
          "def observe_layers(model: Model, text: Ints, *, metrics: Sequence[str] = ('entropy',),"
          " distances: bool = False, sink_tokens: int = 1, window: int = 128,"
          " token_class: Ints | None = None, links: Ints | None = None,"
          " keep_rows: bool = False) -> list[HeadStatistics]"),
      layers_doc.c_str());
}

void bind_maps(nb::module_& m) {
  const auto none = nb::none();
  m.def(
      "pooled_map",
      [](nb::handle q, nb::handle k, std::int64_t query_blocks, std::int64_t key_blocks,
         nb::handle mask, std::optional<double> scale, std::optional<double> softcap,
         nb::handle sinks, nb::handle alibi, nb::handle relative_bias, nb::handle q_ranges,
         nb::handle kv_ranges, nb::handle q_positions, nb::handle kv_positions,
         std::string_view arithmetic, nb::handle bias, nb::handle cache, nb::handle sequences) {
        const Call call(with_values(q, k, cache, sequences, bias));
        const Options options{mask,        scale,         softcap,   sinks,
                              alibi,       relative_bias, q_ranges,  kv_ranges,
                              q_positions, kv_positions,  arithmetic};
        const Problem problem = problem_of(call.inputs(), DType::kF32, options);
        const BorrowedScratch scratch;
        const Threads pool = threads();
        std::vector<double> mass;
        {
          const nb::gil_scoped_release release;
          for (const PooledMap& map :
               rapt::pooled_map(problem, call.inputs(), query_blocks, key_blocks, pool, *scratch))
            mass.insert(mass.end(), map.mass.begin(), map.mass.end());
        }
        return array_of(call.library(), {problem.batch, problem.q_heads, query_blocks, key_blocks},
                        4, mass);
      },
      "q"_a, "k"_a = none, nb::kw_only(), "query_blocks"_a, "key_blocks"_a, "mask"_a = none,
      "scale"_a = none, "softcap"_a = none, "sinks"_a = none, "alibi"_a = none,
      "relative_bias"_a = none, "q_ranges"_a = none, "kv_ranges"_a = none, "q_positions"_a = none,
      "kv_positions"_a = none, "arithmetic"_a = kF32Arithmetic, "bias"_a = none, "cache"_a = none,
      "sequences"_a = none,
      nb::sig("def pooled_map(q: Array, k: Array | None = None, *, query_blocks: int,"
              " key_blocks: int, " RAPT_OPTIONS ", bias: Array | None = None," RAPT_CACHE
              ") -> typing.Any"),
      "The attention matrix averaged over blocks, float32 [B, Hq, query_blocks, key_blocks], in "
      "one\n"
      "pass and O(T) memory: the mean over the rows of a block of their mass on the keys of a "
      "block.\n"
      "Token t of T is of block floor(t blocks / T). The other arguments are those of "
      "`attention`.");
  m.def(
      "attention_received",
      [](nb::handle q, nb::handle k, nb::handle mask, std::optional<double> scale,
         std::optional<double> softcap, nb::handle sinks, nb::handle alibi,
         nb::handle relative_bias, nb::handle q_ranges, nb::handle kv_ranges,
         nb::handle q_positions, nb::handle kv_positions, std::string_view arithmetic,
         nb::handle bias, nb::handle cache, nb::handle sequences) {
        const Call call(with_values(q, k, cache, sequences, bias));
        const Options options{mask,        scale,         softcap,   sinks,
                              alibi,       relative_bias, q_ranges,  kv_ranges,
                              q_positions, kv_positions,  arithmetic};
        const Problem problem = problem_of(call.inputs(), DType::kF32, options);
        const BorrowedScratch scratch;
        const Threads pool = threads();
        std::vector<double> sums;
        {
          const nb::gil_scoped_release release;
          sums = rapt::attention_received(problem, call.inputs(), pool, *scratch);
        }
        return array_of(call.library(), {problem.batch, problem.q_heads, problem.kv_tokens}, 3,
                        sums);
      },
      "q"_a, "k"_a = none, nb::kw_only(), "mask"_a = none, "scale"_a = none, "softcap"_a = none,
      "sinks"_a = none, "alibi"_a = none, "relative_bias"_a = none, "q_ranges"_a = none,
      "kv_ranges"_a = none, "q_positions"_a = none, "kv_positions"_a = none,
      "arithmetic"_a = kF32Arithmetic, "bias"_a = none, "cache"_a = none, "sequences"_a = none,
      nb::sig("def attention_received(q: Array, k: Array | None = None, *, " RAPT_OPTIONS
              ", bias: Array | None = None," RAPT_CACHE ") -> typing.Any"),
      "What every key receives, the sum of its column of the attention matrix: float32 [B, Hq, "
      "Tk],\n"
      "in two passes and O(T) memory. The other arguments are those of `attention`.");
}

void bind_similarity(nb::module_& m) {
  const auto none = nb::none();
  m.def(
      "copying_score",
      [](nb::handle w_v, nb::handle w_o, nb::handle between) {
        const Array v(w_v, "copying_score.w_v"), o(w_o, "copying_score.w_o");
        std::optional<Array> s;
        if (!between.is_none()) s.emplace(between, "copying_score.between");
        const ConstTensor v_view = v.f32_view(2), o_view = o.f32_view(2),
                          s_view = s ? s->f32_view(2) : ConstTensor();
        const nb::gil_scoped_release release;
        return rapt::copying_score(v_view, o_view, s_view);
      },
      "w_v"_a, "w_o"_a, "between"_a = none,
      nb::sig("def copying_score(w_v: Array, w_o: Array, between: Array | None = None) -> float"),
      "Whether a head's OV circuit copies, sum eig / sum |eig| of w_v S w_o: 1 does, -1 "
      "suppresses.\n"
      "w_v [Dv, d], w_o [d, Dv], float32; between [d, d] is S = W_E^T W_U, by default the "
      "identity.");
  nb::class_<HeadSimilarity>(m, "HeadSimilarity",
                             "How alike query heads attend, [Hq * Hq] each, line by line.")
      .def_ro("heads", &HeadSimilarity::heads)
      .def_ro("bhattacharyya", &HeadSimilarity::bhattacharyya, "Mean of sum sqrt(A B): 1 is alike.")
      .def_ro("cosine", &HeadSimilarity::cosine)
      .def_ro("kl", &HeadSimilarity::kl, "Mean of sum A ln(A / B), in nats, of line from column.")
      .def_ro("rows", &HeadSimilarity::rows, "Rows that count.");
  m.def(
      "head_similarity",
      [](nb::handle q, nb::handle k, nb::handle mask, std::optional<double> scale,
         std::optional<double> softcap, nb::handle alibi, nb::handle relative_bias,
         nb::handle q_ranges, nb::handle kv_ranges, nb::handle q_positions, nb::handle kv_positions,
         nb::handle bias, nb::handle cache, nb::handle sequences) {
        const Call call(with_values(q, k, cache, sequences, bias));
        const Options options{mask,        scale,         softcap,  nb::handle(Py_None),
                              alibi,       relative_bias, q_ranges, kv_ranges,
                              q_positions, kv_positions};
        const Problem problem = problem_of(call.inputs(), DType::kF32, options);
        const BorrowedScratch scratch;
        const Threads pool = threads();
        const nb::gil_scoped_release release;
        return rapt::head_similarity(problem, call.inputs(), pool, *scratch);
      },
      "q"_a, "k"_a = none, nb::kw_only(), "mask"_a = none, "scale"_a = none, "softcap"_a = none,
      "alibi"_a = none, "relative_bias"_a = none, "q_ranges"_a = none, "kv_ranges"_a = none,
      "q_positions"_a = none, "kv_positions"_a = none, "bias"_a = none, "cache"_a = none,
      "sequences"_a = none,
      nb::sig("def head_similarity(q: Array, k: Array | None = None, *, mask: Mask | None = None,"
              " scale: float | None = None, softcap: float | None = None,"
              " alibi: Floats | None = None, relative_bias: RelativeBias | None = None,"
              " q_ranges: IntLists | None = None, kv_ranges: IntLists | None = None,"
              " q_positions: Ints | IntLists | None = None,"
              " kv_positions: Ints | IntLists | None = None,"
              " bias: Array | None = None," RAPT_CACHE ") -> HeadSimilarity"),
      "Compares the rows of every pair of query heads: the same keys, or others? Two passes, O(T)\n"
      "memory.");
}

}  // namespace

void bind_observe(nb::module_& m) {
  bind_head_statistics(m);
  bind_looks(m);
  bind_layers(m);
  bind_maps(m);
  bind_similarity(m);
}

}  // namespace rapt::python
