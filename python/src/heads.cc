#include "heads.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "array.h"
#include "rapt/head_interventions.h"
#include "threads.h"
#include "tokens.h"

namespace rapt::python {

using nb::literals::operator""_a;

namespace {

using Pair = std::pair<std::int64_t, std::int64_t>;

HeadIndex head_of(const Pair& pair) { return {pair.first, pair.second}; }

void replace(HeadInterventions& self, const Pair& head, nb::handle values) {
  const Array array(values, "HeadInterventions.values");
  self.replace(head_of(head), array.f32_view(array.axes() == 1 ? 1 : 2));
}

nb::object to_array(const HeadOutputs& outputs, std::vector<std::int64_t> extents) {
  const Array array = Array::empty({}, DType::kF32, std::move(extents));
  std::ranges::copy(outputs.values, static_cast<float*>(array.data()));
  return array.object();
}

nb::object outputs_of(const Model& model, nb::handle tokens) {
  const std::vector<std::int32_t> list = tokens_of(tokens, "head_outputs.tokens");
  const Threads pool = threads();
  HeadOutputs outputs;
  {
    const nb::gil_scoped_release release;
    outputs = head_outputs(model, pool, list);
  }
  return to_array(outputs, {outputs.layers, outputs.tokens, outputs.heads, outputs.dim});
}

nb::object means_of(const Model& model, nb::handle texts) {
  std::vector<std::vector<std::int32_t>> lists;
  for (const nb::handle text : nb::iter(texts))
    lists.push_back(tokens_of(text, "head_output_means.texts"));
  const Threads pool = threads();
  HeadOutputs means;
  {
    const nb::gil_scoped_release release;
    means = head_output_means(model, pool, lists);
  }
  return to_array(means, {means.layers, means.heads, means.dim});
}

}  // namespace

void bind_heads(nb::module_& m) {
  nb::class_<HeadInterventions>(
      m, "HeadInterventions",
      "What becomes of the outputs of single query heads before W_O, in a run of a\n"
      "model. A head is (layer, head); one that is named again has the last change.")
      .def(nb::init<>())
      .def(
          "gate", [](HeadInterventions& self, const Pair& h, float g) { self.gate(head_of(h), g); },
          "head"_a, "gate"_a, "o = gate * o. 0 ablates; 1 leaves the bits.")
      .def("replace", &replace, "head"_a, "values"_a,
           nb::sig("def replace(self, head: tuple[int, int], values: Array) -> None"),
           "o = values, float32 [Dv], the same at every position, or [T, Dv], those of each.")
      .def_prop_ro("empty", &HeadInterventions::empty)
      .def_prop_ro("positions", &HeadInterventions::positions,
                   "Positions that values given by position have, the fewest of any head.");
  m.def(
      "heads_of_group",
      [](const ModelConfig& config, std::int64_t layer, std::int64_t kv_head) {
        std::vector<Pair> heads;
        for (const HeadIndex head : heads_of_group(config, layer, kv_head))
          heads.emplace_back(head.layer, head.head);
        return heads;
      },
      "config"_a, "layer"_a, "kv_head"_a,
      "The query heads that read a key/value head. Changing their outputs leaves their\n"
      "attention as it is; removing its keys and values is another experiment.");
  m.def("head_outputs", &outputs_of, "model"_a, "tokens"_a,
        nb::sig("def head_outputs(model: Model, tokens: Ints)"
                " -> numpy.typing.NDArray[numpy.float32]"),
        "Outputs of every head before W_O, float32 [L, T, Hq, Dv].");
  m.def("head_output_means", &means_of, "model"_a, "texts"_a,
        nb::sig("def head_output_means(model: Model, texts: IntLists)"
                " -> numpy.typing.NDArray[numpy.float32]"),
        "Their means over all tokens of all texts, [L, Hq, Dv].");
}

}  // namespace rapt::python
