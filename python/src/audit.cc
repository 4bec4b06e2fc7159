#include "audit.h"

#include <nanobind/stl/function.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "array.h"
#include "call.h"
#include "error.h"
#include "rapt/model_audit.h"
#include "threads.h"
#include "tokens.h"

namespace rapt::python {

using nb::literals::operator""_a;

namespace {

/// The rule as a predicate: a function, or bits [B, Hq, Tq, Tk] with extents of 1 broadcast.
VisiblePredicate predicate_of(nb::handle visible, const AnyConstTensor& q,
                              const AnyConstTensor& k) {
  if (PyCallable_Check(visible.ptr()) != 0)
    return [visible = nb::borrow(visible)](auto b, auto h, auto i, auto j) {
      return nb::cast<bool>(nb::bool_(visible(b, h, i, j)));
    };
  const Array bits(visible, "audit.visible");
  if (bits.element() != Element::kBool || bits.axes() != 4)
    refuse("audit.visible", "a function or bool of 4 axes", bits.describe());
  const Dims whole{q.extents[0], q.extents[2], q.extents[1], k.extents[1]};
  for (int a = 0; a < 4; ++a)
    if (bits.extent(a) != 1 && bits.extent(a) != whole[a])
      refuse("audit.visible", "extents of B, Hq, Tq and Tk, or 1", bits.describe(),
             ErrorCode::kBadShape);
  return [bits](auto b, auto h, auto i, auto j) {
    const std::int64_t index[] = {b, h, i, j};
    std::int64_t offset = 0;
    for (int a = 0; a < 4; ++a)
      if (bits.extent(a) > 1) offset += index[a] * bits.stride(a);
    return static_cast<const bool*>(bits.data())[offset];
  };
}

void copy_into(const AnyTensor& to, const AnyConstTensor& from) {
  const Dims& n = to.extents;
  for (std::int64_t a = 0; a < n[0]; ++a)
    for (std::int64_t b = 0; b < n[1]; ++b)
      for (std::int64_t c = 0; c < n[2]; ++c)
        for (std::int64_t d = 0; d < n[3]; ++d) to.set(a, b, c, d, from.at(a, b, c, d));
}

void copy_result(const char* where, nb::handle given, int axes, const AnyTensor& to) {
  const Array array(given, where);
  const AnyConstTensor from = array.view(axes);
  if (from.extents != to.extents)
    refuse(where, "other extents", array.describe(), ErrorCode::kBadShape);
  copy_into(to, from);
}

/// The audited function. It gets arrays of its own at every call: it may keep or change them.
class Audited {
 public:
  Audited(nb::handle fn, const Library& library) : fn_(nb::borrow(fn)), library_(library) {}

  void operator()(const Inputs& in, const Result& out) const {
    nb::object o = fn_(copy_of(in.q), copy_of(in.k), copy_of(in.v));
    if (nb::isinstance<nb::tuple>(o)) {
      if (out.lse.data != nullptr) copy_result("audit.fn lse", nb::object(o[1]), 3, out.lse);
      o = nb::object(o[0]);
    }
    copy_result("audit.fn o", o, 4, out.o);
  }

 private:
  nb::object copy_of(const AnyConstTensor& from) const {
    const Dims& e = from.extents;
    const Array to = Array::empty(library_, DType::kF32, {e[0], e[1], e[2], e[3]});
    copy_into(to.mutable_view(), from);
    return to.object();
  }

  nb::object fn_;
  Library library_;
};

AuditReport audit(nb::handle fn, nb::handle visible, const Given& tensors, std::int64_t queries,
                  double row_sum_tolerance, nb::handle sinks) {
  const Array q(tensors.q, "audit.q"), k(tensors.k, "audit.k"), v(tensors.v, "audit.v");
  AuditOptions options{.queries = queries, .row_sum_tolerance = row_sum_tolerance, .sinks = {}};
  if (!sinks.is_none()) options.sinks = floats_of(sinks, "audit.sinks");
  return audit_attention(predicate_of(visible, q.view(), k.view()),
                         {.q = q.view(), .k = k.view(), .v = v.view()}, Audited(fn, q.library()),
                         options);
}

void bind_findings(nb::module_& m) {
  nb::class_<AuditFinding>(m, "AuditFinding",
                           "The first place at which a check failed; -1 where there is no number.")
      .def_prop_ro(
          "check", [](const AuditFinding& f) { return name(f.check); },
          "\"hidden mass\", \"poison nan\", ...")
      .def_ro("layer", &AuditFinding::layer, "Of a model.")
      .def_ro("sequence", &AuditFinding::sequence)
      .def_ro("head", &AuditFinding::head, "Query head.")
      .def_ro("query", &AuditFinding::query, "Token.")
      .def_ro("key", &AuditFinding::key, "Token.")
      .def_ro("key_sequence", &AuditFinding::key_sequence,
              "Another than `sequence` where sequences mix.")
      .def_ro("kv_head", &AuditFinding::kv_head, "Another than the head's own where heads mix.")
      .def_ro("expected", &AuditFinding::expected)
      .def_ro("found", &AuditFinding::found)
      .def("__repr__", [](const AuditFinding& f) {
        return "<rapt.AuditFinding: " + std::string(name(f.check)) + " at sequence " +
               std::to_string(f.sequence) + ", head " + std::to_string(f.head) + ", query " +
               std::to_string(f.query) + ", key " + std::to_string(f.key) + ">";
      });
  nb::class_<AuditReport>(m, "AuditReport", "What an audit has found.")
      .def_prop_ro("passed", &AuditReport::passed)
      .def_ro("findings", &AuditReport::findings,
              "One a check at most, in the order of the checks.")
      .def_ro("queries", &AuditReport::queries, "Tokens whose rows were audited.")
      .def("first", &AuditReport::first,
           "The finding of the first row; None if the audit has passed.");
}

PrefixReport audit_prefixes(nb::handle logits, nb::handle tokens, std::int64_t vocab_size) {
  const auto text = tokens_of(tokens, "audit_prefixes.tokens");
  std::optional<Array> latest;  // lives until the next call
  const auto logits_of = [&](std::span<const std::int32_t> prefix) {
    nb::list ids;
    for (const std::int32_t id : prefix) ids.append(id);
    latest.emplace(nb::object(logits(ids)), "audit_prefixes.logits");
    return latest->f32_view(2);
  };
  return rapt::audit_prefixes(logits_of, text, vocab_size);
}

void bind_model_audit(nb::module_& m) {
  nb::class_<PrefixReport>(m, "PrefixReport",
                           "Whether logits keep their bits, whatever comes after them.")
      .def_prop_ro("passed", &PrefixReport::passed)
      .def_ro("cuts", &PrefixReport::cuts, "The prefixes [0, cut) that were compared.")
      .def_ro("findings", &PrefixReport::findings,
              "One at most: the first token whose logits changed, and the first later one that\n"
              "changes them.");
  m.def(
      "audit_prefixes", &audit_prefixes, "logits"_a, "tokens"_a, "vocab_size"_a,
      nb::sig("def audit_prefixes(logits: Callable[[list[int]], Array], tokens: Ints,"
              " vocab_size: int) -> PrefixReport"),
      "Audits any model from outside: logits(tokens) gives those of every token, [T, vocab_size]\n"
      "float32. Whatever comes after a cut, other tokens or none, the logits before it keep their\n"
      "bits. Two calls a cut.");
  nb::class_<LayerAudit>(m, "LayerAudit",
                         "One layer's attention over the tokens that ran together.")
      .def_ro("layer", &LayerAudit::layer)
      .def_ro("report", &LayerAudit::report);
  nb::class_<ModelAudit>(m, "ModelAudit", "What the audit of a model has found.")
      .def_prop_ro("passed", &ModelAudit::passed)
      .def_ro("layers", &ModelAudit::layers, "In the order in which they ran.")
      .def_ro("prefixes", &ModelAudit::prefixes)
      .def("first", &ModelAudit::first,
           "The finding of the first layer that has one, else that of the logits; None if the\n"
           "audit has passed.");
  m.def(
      "audit_model",
      [](const Model& model, nb::handle tokens, std::int64_t queries, double row_sum_tolerance,
         const std::function<void(const std::string&)>& progress) {
        const auto text = tokens_of(tokens, "audit_model.tokens");
        const Threads pool = threads();
        const nb::gil_scoped_release release;
        return audit_model(
            model, pool, text,
            {.attention = {.queries = queries, .row_sum_tolerance = row_sum_tolerance, .sinks = {}},
             .attention_of_layer = {},
             .progress = progress});
      },
      "model"_a, "tokens"_a, nb::kw_only(), "queries"_a = 64, "row_sum_tolerance"_a = 0x1p-7,
      "progress"_a = nb::none(),
      nb::sig("def audit_model(model: Model, tokens: Ints, *, queries: int = 64,"
              " row_sum_tolerance: float = 0.0078125,"
              " progress: Callable[[str], typing.Any] | None = None) -> ModelAudit"),
      R"(Audits a model on a text: the attention of every layer on the q, k and v that the text gives
there, against the mask that its configuration asks for; then, whatever comes after a cut, whether
the logits before it keep their bits.

tokens    two or more
queries   rows to audit of each layer; a pass shows nothing of the others
progress  called before each part: "layer 3 of 12", "prefixes, run 5")");
}

}  // namespace

void bind_audit(nb::module_& m) {
  bind_findings(m);
  bind_model_audit(m);
  m.def(
      "audit",
      [](nb::handle fn, nb::handle visible, nb::handle q, nb::handle k, nb::handle v,
         std::int64_t queries, double row_sum_tolerance, nb::handle sinks) {
        return audit(fn, visible, {.q = q, .k = k, .v = v}, queries, row_sum_tolerance, sinks);
      },
      "fn"_a, "visible"_a, "q"_a, "k"_a, "v"_a, nb::kw_only(), "queries"_a = 64,
      "row_sum_tolerance"_a = 0x1p-7, "sinks"_a = nb::none(),
      nb::sig("def audit(fn: Callable[[typing.Any, typing.Any, typing.Any], typing.Any],"
              " visible: Array | Callable[[int, int, int, int], bool], q: Array, k: Array,"
              " v: Array, *, queries: int = 64, row_sum_tolerance: float = 0.0078125,"
              " sinks: Floats | None = None) -> AuditReport"),
      R"(Audits any attention from outside: fn(q, k, v) gives o, or (o, lse).

Whether hidden keys weigh nothing, visible ones are seen, rows sum to 1, empty rows are 0, and what
hidden keys and values hold, NaN too, changes no bit. fn is called many times, with float32 arrays
of the library that q is of, and must be under the same mask each time.

visible  bool [B, Hq, Tq, Tk], extents of 1 broadcast, or a function of (sequence, head, query,
         key): write it from what the model should do, not from a Mask
q  [B, Tq, Hq, D]   k  [B, Tk, Hkv, D]   v  [B, Tk, Hkv, Dv], finite
queries  rows to audit; a pass shows nothing of the others)");
}

}  // namespace rapt::python
