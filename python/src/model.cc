#include "model.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>

#include "array.h"
#include "error.h"
#include "options.h"
#include "rapt/evaluate.h"
#include "rapt/head_interventions.h"
#include "rapt/model_info.h"
#include "rapt/sampler.h"
#include "rapt/session.h"
#include "rapt/tokenizer.h"
#include "threads.h"
#include "tokens.h"
#include "use.h"
#include "weight_type.h"

namespace rapt::python {

using nb::literals::operator""_a;

namespace {

nb::object copied(const ConstTensor& logits) {
  const std::int64_t rows = logits.extents[2], vocab = logits.extents[3];
  const Array array = Array::empty({}, DType::kF32, {rows, vocab});
  const MutableTensor to = array.mutable_f32_view(2);
  for (std::int64_t t = 0; t < rows; ++t)
    for (std::int64_t n = 0; n < vocab; ++n) to.at(0, 0, t, n) = logits.at(0, 0, t, n);
  return array.object();
}

void bind_tokenizer(nb::module_& m) {
  nb::class_<Tokenizer>(m, "Tokenizer", "Text to token ids and back, as tokenizer.json has it.")
      .def_static("load", &Tokenizer::load, "path"_a,
                  nb::sig("def load(path: str | os.PathLike[str]) -> Tokenizer"),
                  "Reads a tokenizer.json, or the one of a model's directory.")
      .def_prop_ro("vocab_size", &Tokenizer::vocab_size, "One more than the largest token id.")
      .def_prop_ro(
          "beginning",
          [](const Tokenizer& t) {
            return std::vector<std::int32_t>(t.beginning().begin(), t.beginning().end());
          },
          "The tokens that encode() puts before every text.")
      .def(
          "encode",
          [](const Tokenizer& t, const std::string& text, bool add_special_tokens) {
            return t.encode(text, add_special_tokens);
          },
          "text"_a, nb::kw_only(), "add_special_tokens"_a = true,
          nb::call_guard<nb::gil_scoped_release>(),
          "Token ids of `text`, with the tokens that the file puts around every text unless "
          "add_special_tokens is false, as for the text of a ChatTemplate.")
      .def(
          "decode",
          [](const Tokenizer& t, nb::handle tokens) {
            return t.decode(tokens_of(tokens, "Tokenizer.decode.tokens"));
          },
          "tokens"_a, nb::sig("def decode(self, tokens: Ints) -> str"),
          "Text of `tokens`. Special tokens give none.");
}

void bind_sampler(nb::module_& m) {
  nb::class_<Sampler>(
      m, "Sampler",
      "Draws tokens: repetition penalty, temperature, top-k, top-p, min-p, in this\n"
      "order. The same logits, context and seed give the same token everywhere.")
      .def(
          "__init__",
          [](Sampler* self, double temperature, std::int64_t top_k, double top_p, double min_p,
             double repetition_penalty, std::uint64_t seed) {
            new (self) Sampler({.temperature = temperature,
                                .top_k = top_k,
                                .top_p = top_p,
                                .min_p = min_p,
                                .repetition_penalty = repetition_penalty,
                                .seed = seed});
          },
          nb::kw_only(), "temperature"_a = 0.0, "top_k"_a = 0, "top_p"_a = 1.0, "min_p"_a = 0.0,
          "repetition_penalty"_a = 1.0, "seed"_a = 0,
          "temperature 0 takes the most likely token; top_k 0 keeps all.")
      .def(
          "next",
          [](const Sampler& self, nb::handle logits, nb::handle context) {
            const Array array(logits, "Sampler.next.logits");
            return self.next(array.f32_view(1), tokens_of(context, "Sampler.next.context"));
          },
          "logits"_a, "context"_a, nb::sig("def next(self, logits: Array, context: Ints) -> int"),
          "The token that follows `context`, of logits [vocab_size] float32.");
}

struct PySession {
  Session session;
  Use use{};
};

void encode(PySession& self, nb::handle tokens) {
  const Use::Changing changing(self.use, "Session.encode");
  const std::vector<std::int32_t> list = tokens_of(tokens, "Session.encode.tokens");
  const nb::gil_scoped_release release;
  self.session.encode(list);
}

nb::object prefill(PySession& self, nb::handle tokens, bool all) {
  const Use::Changing changing(self.use, "Session.prefill");
  const std::vector<std::int32_t> list = tokens_of(tokens, "Session.prefill.tokens");
  ConstTensor logits;
  {
    const nb::gil_scoped_release release;
    logits = self.session.prefill(list, all ? Logits::kAll : Logits::kLast);
  }
  const nb::object rows = copied(logits);
  return all ? rows : nb::object(rows[0]);
}

void bind_session(nb::module_& m) {
  nb::class_<PySession>(
      m, "Session",
      "One sequence in a model: its KV caches and its length. Logits have the same\n"
      "bits for any number of threads and any cut into calls. One call at a time. Of an\n"
      "encoder-decoder it is the decoder's, and `encode` comes first.")
      .def(
          "__init__",
          [](PySession* self, const Model& model, std::int64_t capacity) {
            new (self) PySession{Session(model, threads(), capacity)};
          },
          "model"_a, "capacity"_a = 0,
          "For up to `capacity` tokens; 0 means the model's context. On the present threads.")
      .def(
          "encode", &encode, "tokens"_a, nb::sig("def encode(self, tokens: Ints) -> None"),
          "Takes the whole input of an encoder-decoder's encoder, before the decoder's tokens. The "
          "session\n"
          "has no tokens then.")
      .def(
          "prefill", &prefill, "tokens"_a, nb::kw_only(), "all"_a = false,
          nb::sig("def prefill(self, tokens: Ints, *, all: bool = False)"
                  " -> numpy.typing.NDArray[numpy.float32]"),
          "Takes `tokens` and returns the logits of the next, float32 [vocab_size], or with `all`\n"
          "those after each, [T, vocab_size].")
      .def(
          "intervene",
          [](PySession& self, const HeadInterventions& interventions) {
            const Use::Changing changing(self.use, "Session.intervene");
            self.session.intervene(interventions);
          },
          "interventions"_a,
          "From now on the outputs of the heads named are changed before W_O; none with an empty "
          "one.")
      .def(
          "truncate",
          [](PySession& self, std::int64_t length) {
            const Use::Changing changing(self.use, "Session.truncate");
            self.session.truncate(length);
          },
          "length"_a, "Forgets the tokens from `length` on.")
      .def_prop_ro(
          "length",
          [](PySession& self) {
            const Use::Reading reading(self.use, "Session.length");
            return self.session.length();
          },
          "Tokens taken so far.")
      .def_prop_ro(
          "capacity", [](const PySession& self) { return self.session.capacity(); },
          "Tokens that fit in all.")
      .def_prop_ro("cache_bytes", [](const PySession& self) { return self.session.cache_bytes(); });
}

Model load(const std::filesystem::path& directory, const std::optional<std::string>& weights,
           const std::string& cache, const std::string& attention) {
  ModelOptions options;
  if (weights) options.weights = weight_type_of(*weights, "Model.load.weights");
  options.cache = cache_type_of(cache, "Model.load.cache");
  options.attention = arithmetic_of(attention, "Model.load.attention");
  if (options.attention == Arithmetic::kNativeBF16 && options.cache != DType::kBF16)
    refuse("Model.load.cache", "bfloat16, as attention is native_bfloat16", cache);
  const nb::gil_scoped_release release;
  return Model::load(directory, options);
}

ModelInfo read_info(const std::filesystem::path& directory,
                    const std::optional<std::string>& weights, const std::string& cache) {
  ModelOptions options;
  if (weights) options.weights = weight_type_of(*weights, "ModelInfo.read.weights");
  options.cache = cache_type_of(cache, "ModelInfo.read.cache");
  return ModelInfo::read(directory, options);
}

void bind_config(nb::module_& m) {
  nb::class_<ModelConfig>(m, "ModelConfig", "A model's config.json, by its names.")
      .def_ro("architecture", &ModelConfig::architecture)
      .def_ro("vocab_size", &ModelConfig::vocab_size)
      .def_ro("hidden_size", &ModelConfig::hidden_size)
      .def_ro("intermediate_size", &ModelConfig::intermediate_size)
      .def_ro("num_hidden_layers", &ModelConfig::num_hidden_layers)
      .def_ro("num_attention_heads", &ModelConfig::num_attention_heads)
      .def_ro("num_key_value_heads", &ModelConfig::num_key_value_heads)
      .def_ro("head_dim", &ModelConfig::head_dim)
      .def_ro("max_position_embeddings", &ModelConfig::max_position_embeddings)
      .def_ro("rms_norm_eps", &ModelConfig::rms_norm_eps)
      .def_ro("rope_theta", &ModelConfig::rope_theta)
      .def_ro("tie_word_embeddings", &ModelConfig::tie_word_embeddings)
      .def_ro("bos_token_ids", &ModelConfig::bos_token_ids)
      .def_ro("eos_token_ids", &ModelConfig::eos_token_ids)
      .def_ro("decoder_start_token_ids", &ModelConfig::decoder_start_token_ids,
              "What an encoder-decoder's own text begins with.")
      .def_ro("suppressed_token_ids", &ModelConfig::suppressed_token_ids,
              "Tokens that generation never draws.")
      .def_prop_ro(
          "is_encoder_decoder", [](const ModelConfig& c) { return c.encoder.has_value(); },
          "Whether a Session asks for an encoder's input.")
      .def_prop_ro("context", &ModelConfig::context,
                   "The longest sequence that its positions serve, in tokens.");
}

void bind_info(nb::module_& m) {
  nb::class_<ModelInfo>(m, "ModelInfo", "What a model's files say of it; no weight is read.")
      .def_static(
          "read", &read_info, "directory"_a, nb::kw_only(), "weights"_a = nb::none(),
          "cache"_a = "float32",
          nb::sig("def read(directory: str | os.PathLike[str], *, weights: str | None = None,"
                  " cache: str = 'float32') -> ModelInfo"),
          "Reads a Hugging Face directory's configuration and list of tensors. weights and cache, "
          "as\n"
          "Model.load takes them, change the bytes once loaded and those of the caches.")
      .def_ro("config", &ModelInfo::config)
      .def_prop_ro(
          "parts",
          [](const ModelInfo& info) {
            nb::dict parts;
            for (const ModelInfo::Part& part : info.parts)
              parts[part.name.c_str()] = part.parameters;
            return parts;
          },
          nb::for_getter(nb::sig("def parts(self, /) -> dict[str, int]")),
          "Parameters of embedding, attention, mlp, norms, head and other, where there are any.")
      .def_ro("dtypes", &ModelInfo::dtypes, "Parameters stored in each type: \"BF16\".")
      .def_ro("parameters", &ModelInfo::parameters, "Of all parts; a tied head counts once.")
      .def_ro("weights_bytes", &ModelInfo::weights_bytes, "As stored.")
      .def_ro("loaded_bytes", &ModelInfo::loaded_bytes, "Of the weights of a Model.")
      .def_ro("cache_bytes_per_token", &ModelInfo::cache_bytes_per_token,
              "Of the KV caches of all layers.")
      .def_ro("cache_bytes", &ModelInfo::cache_bytes, "The same with the whole context.");
}

void bind_model_type(nb::module_& m) {
  nb::class_<Model>(m, "Model",
                    "A decoder, or an encoder and its decoder, ready to run. Share it between "
                    "sessions.")
      .def_static(
          "load", &load, "directory"_a, nb::kw_only(), "weights"_a = nb::none(),
          "cache"_a = "float32", "attention"_a = kF32Arithmetic,
          nb::sig("def load(directory: str | os.PathLike[str], *, weights: str | None = None,"
                  " cache: str = 'float32', attention: str = 'float32') -> Model"),
          "Reads a Hugging Face directory. weights: float32, bfloat16, float16, int8 or "
          "native_bfloat16, what\n"
          "the linear maps are kept in; None: as the files have them. cache: float32,\n"
          "bfloat16, float16, int8 or fp8_e4m3. attention: float32, or native_bfloat16 with a "
          "cache\n"
          "of bfloat16.")
      .def_prop_ro("config", &Model::config)
      .def_prop_ro("vocab_size", [](const Model& x) { return x.config().vocab_size; })
      .def_prop_ro(
          "context", [](const Model& x) { return x.config().context(); },
          "The longest sequence that its positions serve, in tokens.")
      .def(
          "ends_text", [](const Model& x, std::int32_t t) { return x.config().ends_text(t); },
          "token"_a, "Whether generation stops at `token`.");
}

void bind_evaluation(nb::module_& m) {
  nb::class_<Evaluation>(m, "Evaluation", "The loss of a model on a text.")
      .def_prop_ro(
          "nats",
          [](const Evaluation& e) { return nb::module_::import_("numpy").attr("array")(e.nats); },
          nb::for_getter(nb::sig("def nats(self, /) -> numpy.typing.NDArray[numpy.float64]")),
          "-ln p of every scored token, in order.")
      .def_prop_ro("total_nats", &Evaluation::total_nats, "Their sum.")
      .def_prop_ro("context", [](const Evaluation& e) { return e.context; })
      .def_prop_ro("stride", [](const Evaluation& e) { return e.stride; });
  m.def(
      "evaluate",
      [](const Model& model, nb::handle tokens, nb::handle beginning, std::int64_t context,
         std::int64_t stride, const HeadInterventions& interventions, nb::handle encoder_input) {
        const auto text = tokens_of(tokens, "evaluate.tokens");
        const auto given = [](nb::handle tokens, const char* where) {
          return tokens.is_none() ? std::vector<std::int32_t>{} : tokens_of(tokens, where);
        };
        const auto begin = given(beginning, "evaluate.beginning");
        const auto source = given(encoder_input, "evaluate.encoder_input");
        const Threads pool = threads();
        const nb::gil_scoped_release release;
        return evaluate(model, pool, begin, text,
                        {.context = context,
                         .stride = stride,
                         .progress = {},
                         .interventions = interventions,
                         .encoder_input = source});
      },
      "model"_a, "tokens"_a, nb::kw_only(), "beginning"_a = nb::none(), "context"_a = 0,
      "stride"_a = 0, "interventions"_a = HeadInterventions(), "encoder_input"_a = nb::none(),
      nb::sig("def evaluate(model: Model, tokens: Ints, *, beginning: Ints | None = None,"
              " context: int = 0, stride: int = 0,"
              " interventions: HeadInterventions = ...,"
              " encoder_input: Ints | None = None) -> Evaluation"),
      "The loss of `model` on a text of any length, in windows of `context` tokens, each `stride`\n"
      "after the one before and begun by `beginning`; 0 means the model's context, half of it.\n"
      "interventions: on the heads, in every window. encoder_input: the tokens that the encoder "
      "of\n"
      "an encoder-decoder reads; windows then begin with its decoder_start_token_ids.");
}

}  // namespace

void bind_model(nb::module_& m) {
  bind_tokenizer(m);
  bind_sampler(m);
  bind_config(m);
  bind_info(m);
  bind_model_type(m);
  bind_session(m);
  bind_evaluation(m);
}

}  // namespace rapt::python
