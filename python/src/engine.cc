#include "engine.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "error.h"
#include "options.h"
#include "rapt/engine.h"
#include "threads.h"
#include "tokens.h"
#include "use.h"

namespace rapt::python {

using nb::literals::operator""_a;

namespace {

struct PyEngine {
  Engine engine;
  Use use{};
};

void make(PyEngine* self, const Model& model, std::int64_t page_size, std::int64_t pages,
          std::size_t cache_bytes, const std::optional<std::string>& cache,
          std::int64_t max_step_tokens, std::int64_t max_sequence_tokens, bool reuse_prefixes,
          const std::optional<Tokenizer>& tokenizer) {
  EngineConfig config{.threads = threads(),
                      .page_size = page_size,
                      .pages = pages,
                      .cache_bytes = cache_bytes,
                      .cache = {},
                      .max_step_tokens = max_step_tokens,
                      .max_sequence_tokens = max_sequence_tokens,
                      .reuse_prefixes = reuse_prefixes,
                      .tokenizer = tokenizer};
  if (cache) config.cache = cache_type_of(*cache, "Engine.cache");
  new (self) PyEngine{Engine(model, config)};
}

std::int64_t submit(PyEngine& self, nb::handle prompt, std::int64_t max_new_tokens,
                    double temperature, std::int64_t top_k, double top_p, double min_p,
                    double repetition_penalty, std::uint64_t seed, nb::handle stop_tokens,
                    const std::vector<std::string>& stop_strings, std::int64_t priority,
                    bool logprobs) {
  const Use::Changing changing(self.use, "Engine.submit");
  return self.engine.submit({.prompt = tokens_of(prompt, "Engine.submit.prompt"),
                             .max_new_tokens = max_new_tokens,
                             .sampler = {.temperature = temperature,
                                         .top_k = top_k,
                                         .top_p = top_p,
                                         .min_p = min_p,
                                         .repetition_penalty = repetition_penalty,
                                         .seed = seed},
                             .stop_tokens = tokens_of(stop_tokens, "Engine.submit.stop_tokens"),
                             .stop_strings = stop_strings,
                             .priority = priority,
                             .logprobs = logprobs});
}

std::vector<Event> step(PyEngine& self) {
  const Use::Changing changing(self.use, "Engine.step");
  const nb::gil_scoped_release release;
  return self.engine.step();
}

void bind_event(nb::module_& m) {
  nb::class_<Event>(m, "Event",
                    "Something that happened to a request. A token and the end may come in one.")
      .def_ro("request", &Event::request, "The id that submit gave.")
      .def_ro("token", &Event::token, "The next one, if any.")
      .def_ro("logprob", &Event::logprob, "ln p of it under the model, if wanted.")
      .def_ro("text", &Event::text, "That is certain now, where there is a tokenizer.")
      .def_prop_ro(
          "finish",
          [](const Event& e) -> std::optional<std::string> {
            if (e.finish == FinishReason::kNone) return {};
            return name(e.finish);
          },
          "None while the request goes on, else stop, length, context, cancelled or error.")
      .def_ro("error", &Event::error, "Why, where finish is error.");
}

void bind_metrics(nb::module_& m) {
  nb::class_<Times>(m, "Times", "Mean and longest of some times, in seconds.")
      .def_ro("count", &Times::count)
      .def_ro("mean", &Times::mean)
      .def_ro("max", &Times::max);
  nb::class_<EngineMetrics>(m, "EngineMetrics", "What an engine does, and has done so far.")
      .def_ro("queued", &EngineMetrics::queued, "Requests that wait.")
      .def_ro("running", &EngineMetrics::running, "Requests that have pages.")
      .def_ro("pages_used", &EngineMetrics::pages_used,
              "By requests and by prefixes that are kept.")
      .def_ro("pages_free", &EngineMetrics::pages_free)
      .def_ro("steps", &EngineMetrics::steps)
      .def_ro("computed_tokens", &EngineMetrics::computed_tokens)
      .def_ro("new_tokens", &EngineMetrics::new_tokens)
      .def_ro("preemptions", &EngineMetrics::preemptions)
      .def_ro("prefix_hits", &EngineMetrics::prefix_hits)
      .def_ro("prefix_tokens", &EngineMetrics::prefix_tokens, "Tokens not computed anew.")
      .def_ro("cascades", &EngineMetrics::cascades,
              "Prefixes that requests of a step attended to at once, of all steps.")
      .def_ro("seconds", &EngineMetrics::seconds, "In `step`.")
      .def_ro("tokens_per_second", &EngineMetrics::tokens_per_second, "New tokens.")
      .def_ro("first_token", &EngineMetrics::first_token, "From submit to a request's first token.")
      .def_ro("between_tokens", &EngineMetrics::between_tokens, "From a token to the next.");
}

constexpr const char* kDoc =
    R"(Continuous batching: a model serves many requests at once.

    engine = rapt.Engine(model, tokenizer=tokenizer)
    ids = [engine.submit(tokenizer.encode(text)) for text in texts]
    while engine.busy:
        for event in engine.step():
            print(event.request, event.text, event.finish)

A step takes one token of every running request, and fills up to max_step_tokens with pieces of
prompts, in the order of priority and arrival. Where pages run out, the last request in that order
gives its pages back and computes its tokens again when there is room. Pages of tokens already seen
are kept for prompts that begin alike until others need them.

A request's tokens and log-probabilities have the bits of a Session alone with it, in any batch. One
call at a time; other Python threads go on during a step.)";

void bind_engine_type(nb::module_& m) {
  nb::class_<PyEngine>(m, "Engine", kDoc)
      .def("__init__", &make, "model"_a, nb::kw_only(), "page_size"_a = 64, "pages"_a = 0,
           "cache_bytes"_a = std::size_t{1} << 30, "cache"_a = nb::none(),
           "max_step_tokens"_a = 512, "max_sequence_tokens"_a = 0, "reuse_prefixes"_a = true,
           "tokenizer"_a = nb::none(),
           "page_size: tokens of a page, a multiple of 16. pages: at most; 0: as many as "
           "cache_bytes\n"
           "holds. cache: float32, bfloat16, float16, int8 or fp8_e4m3, of keys and values; None: "
           "the\n"
           "model's. max_sequence_tokens: the longest sequence; 0: the model's context. tokenizer: "
           "for\n"
           "events' text and for stop strings. On the present threads.")
      .def("submit", &submit, "prompt"_a, nb::kw_only(), "max_new_tokens"_a = 256,
           "temperature"_a = 0.0, "top_k"_a = 0, "top_p"_a = 1.0, "min_p"_a = 0.0,
           "repetition_penalty"_a = 1.0, "seed"_a = 0, "stop_tokens"_a = nb::tuple(),
           "stop_strings"_a = nb::tuple(), "priority"_a = 0, "logprobs"_a = false,
           nb::sig("def submit(self, prompt: Ints, *, max_new_tokens: int = 256,"
                   " temperature: float = 0.0, top_k: int = 0, top_p: float = 1.0,"
                   " min_p: float = 0.0, repetition_penalty: float = 1.0, seed: int = 0,"
                   " stop_tokens: Ints = (), stop_strings: Sequence[str] = (),"
                   " priority: int = 0, logprobs: bool = False) -> int"),
           "Queues a request and returns its id. An empty prompt is the model's first token of a "
           "text;\n"
           "temperature to seed are those of Sampler. stop_tokens end it besides the model's own;\n"
           "stop_strings end the text before them. Higher priorities go first.")
      .def(
          "cancel",
          [](PyEngine& self, std::int64_t request) {
            const Use::Changing changing(self.use, "Engine.cancel");
            return self.engine.cancel(request);
          },
          "request"_a,
          "Ends a request; its last event comes with the next step. Whether it had not ended.")
      .def("step", &step, "Computes one batch and returns what happened.")
      .def_prop_ro(
          "busy",
          [](PyEngine& self) {
            const Use::Reading reading(self.use, "Engine.busy");
            return self.engine.busy();
          },
          "Whether `step` has something to do or to tell.")
      .def_prop_ro("metrics", [](PyEngine& self) {
        const Use::Reading reading(self.use, "Engine.metrics");
        return self.engine.metrics();
      });
}

}  // namespace

void bind_engine(nb::module_& m) {
  bind_event(m);
  bind_metrics(m);
  bind_engine_type(m);
}

}  // namespace rapt::python
