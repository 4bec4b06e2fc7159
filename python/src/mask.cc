#include "mask.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <optional>

#include "array.h"
#include "error.h"
#include "rapt/problem.h"

namespace rapt::python {

namespace nb = nanobind;
using nb::literals::operator""_a;

const Mask& mask_of(nb::handle object, const char* where) {
  static const auto* const kNone = new Mask(Mask::none());
  if (object.is_none()) return *kNone;
  const Mask* mask = nullptr;
  if (!nb::try_cast(object, mask) || mask == nullptr)
    refuse(where, "a rapt.Mask (of bits: Mask.dense)",
           nb::cast<std::string>(nb::str(object.type().attr("__name__"))));
  return *mask;
}

namespace {

Mask dense(nb::handle bits) {
  const char* where = "Mask.dense.bits";
  const Array array(bits, where);
  if (array.element() != Element::kBool && array.element() != Element::kU8)
    refuse(where, "bool or uint8", array.describe());
  if (array.axes() != 4)
    refuse(where, "4 axes, [B, Hq, Tq, Tk], of which each may be 1", array.describe(),
           ErrorCode::kBadShape);
  Dims extents, strides;
  for (int a = 0; a < 4; ++a) extents[a] = array.extent(a), strides[a] = array.stride(a);
  const nb::gil_scoped_release release;
  return Mask::dense({static_cast<const std::uint8_t*>(array.data()), extents, strides});
}

Problem problem_of(const Mask& mask, std::int64_t q_tokens, std::optional<std::int64_t> kv_tokens,
                   std::int64_t batch, std::int64_t heads) {
  Problem problem;
  problem.batch = batch;
  problem.q_tokens = q_tokens;
  problem.kv_tokens = kv_tokens.value_or(q_tokens);
  problem.q_heads = problem.kv_heads = heads;
  problem.head_dim = 1;
  problem.mask = mask;
  return problem;
}

nb::object visible(const Mask& mask, std::int64_t q_tokens, std::optional<std::int64_t> kv_tokens,
                   std::int64_t batch, std::int64_t heads) {
  const Problem p = problem_of(mask, q_tokens, kv_tokens, batch, heads);
  p.validate();
  const nb::object bits = nb::module_::import_("numpy").attr("zeros")(
      nb::make_tuple(p.batch, p.q_heads, p.q_tokens, p.kv_tokens), "bool");
  auto* bit = static_cast<bool*>(Array(bits, "Mask.visible").data());
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t h = 0; h < p.q_heads; ++h)
      for (std::int64_t i = 0; i < p.q_tokens; ++i)
        for (std::int64_t j = 0; j < p.kv_tokens; ++j) *bit++ = p.visible(b, h, i, j);
  return bits;
}

void bind_factories(nb::class_<Mask>& mask) {
  mask.def_static("none", &Mask::none, "Every key is visible (encoders, cross-attention).")
      .def_static("causal", &Mask::causal, "The query's own key and all before it, by position.")
      .def_static("causal_top_left", &Mask::causal_top_left,
                  "Query i sees keys 0 .. i, counted from the first query and the first key.")
      .def_static("sliding_window", &Mask::sliding_window, "tokens"_a,
                  "The query's own key and the `tokens - 1` before it: `tokens` keys in all.")
      .def_static("window", &Mask::window, "before"_a, "after"_a,
                  "The query's own key, `before` keys before it and `after` keys after it.")
      .def_static("strided", &Mask::strided, "stride"_a,
                  "Keys whose distance from the query is a multiple of `stride`, on either side.")
      .def_static("dilated_window", &Mask::dilated_window, "tokens"_a, "dilation"_a,
                  "The query's own key and every `dilation`-th before it, `tokens` in all.");
}

void bind_lists(nb::class_<Mask>& mask) {
  mask.def_static(
          "prefix",
          [](nb::handle lengths) { return Mask::prefix(ints_of(lengths, "Mask.prefix.lengths")); },
          "lengths"_a, nb::sig("def prefix(lengths: Ints) -> Mask"),
          "Keys of slots below lengths[b], for every query. One length, or one a sequence.")
      .def_static(
          "documents",
          [](nb::handle ids) { return Mask::documents(int_lists_of(ids, "Mask.documents.ids")); },
          "ids"_a, nb::sig("def documents(ids: IntLists) -> Mask"),
          "Tokens of one document see each other: ids[b][slot] equal for query and key. One list "
          "a\n"
          "sequence, or one for all.")
      .def_static(
          "documents_from_offsets",
          [](nb::handle offsets) {
            return Mask::documents_from_offsets(
                int_lists_of(offsets, "Mask.documents_from_offsets.offsets"));
          },
          "offsets"_a, nb::sig("def documents_from_offsets(offsets: IntLists) -> Mask"),
          "The same, from the offsets of the documents' first tokens and the end: 0, ..., tokens.")
      .def_static(
          "structure",
          [](nb::handle kinds, const std::vector<std::vector<bool>>& visible) {
            return Mask::structure(int_lists_of(kinds, "Mask.structure.kinds"), visible);
          },
          "kinds"_a, "visible"_a,
          nb::sig("def structure(kinds: IntLists, visible: Sequence[Sequence[bool]]) -> Mask"),
          "Structured prompts: kinds[b][slot] is the kind of a token, and a query of kind x sees "
          "a\n"
          "key of kind y where visible[x][y].")
      .def_static(
          "global_",
          [](nb::handle slots) { return Mask::global(int_lists_of(slots, "Mask.global_.slots")); },
          "slots"_a, nb::sig("def global_(slots: IntLists) -> Mask"),
          "Keys of the slots listed are visible to every query, and queries of those places see\n"
          "every key. One ascending list a sequence, or one for all.")
      .def_static(
          "tree",
          [](nb::handle parents) { return Mask::tree(int_lists_of(parents, "Mask.tree.parents")); },
          "parents"_a, nb::sig("def tree(parents: IntLists) -> Mask"),
          "Speculative decoding: the last slots are a tree of drafted tokens, parents[b][n] < n "
          "the\n"
          "parent of token n, -1 where it follows the context.")
      .def_static("blocks", &Mask::blocks, "blocks"_a,
                  "The blocks that a BlockMask has set, by place and slot.")
      .def_static(
          "dense", &dense, "bits"_a, nb::sig("def dense(bits: Array) -> Mask"),
          "Any mask at all: visible where bits [B, Hq, Tq, Tk] of bool or uint8 are not 0, by\n"
          "token. Extents of 1 are broadcast. The bits are copied, 8 to a byte.");
}

BlockMask::Shape shape_of(std::int64_t q_blocks, std::int64_t kv_blocks, std::int64_t q_block,
                          std::int64_t kv_block, std::int64_t batch, std::int64_t heads) {
  return {.batch = batch,
          .heads = heads,
          .q_blocks = q_blocks,
          .kv_blocks = kv_blocks,
          .q_block = q_block,
          .kv_block = kv_block};
}

void bind_block_mask(nb::module_& m) {
  nb::class_<BlockMask>(
      m, "BlockMask",
      "Which blocks of queries see which blocks of keys. Block (x, y) covers places\n"
      "[x q_block, (x + 1) q_block) and slots [y kv_block, (y + 1) kv_block); a map\n"
      "of one sequence or one head serves all.")
      .def(
          "__init__",
          [](BlockMask* self, std::int64_t q_blocks, std::int64_t kv_blocks, std::int64_t q_block,
             std::int64_t kv_block, std::int64_t batch, std::int64_t heads) {
            new (self) BlockMask(shape_of(q_blocks, kv_blocks, q_block, kv_block, batch, heads));
          },
          "q_blocks"_a, "kv_blocks"_a, nb::kw_only(), "q_block"_a = 64, "kv_block"_a = 64,
          "batch"_a = 1, "heads"_a = 1, "A map with nothing set.")
      .def_static(
          "from_top",
          [](nb::handle scores, std::int64_t keep, std::int64_t q_block, std::int64_t kv_block) {
            const Array array(scores, "BlockMask.from_top.scores");
            const ConstTensor view = array.f32_view();
            const Dims& e = view.extents;
            return BlockMask::from_top(shape_of(e[2], e[3], q_block, kv_block, e[0], e[1]), view,
                                       keep);
          },
          "scores"_a, "keep"_a, nb::kw_only(), "q_block"_a = 64, "kv_block"_a = 64,
          nb::sig("def from_top(scores: Array, keep: int, *, q_block: int = 64, kv_block: int = 64)"
                  " -> BlockMask"),
          "The `keep` key blocks of largest score for each query block.\n\n"
          "scores  [batch, heads, q_blocks, kv_blocks] float32")
      .def("at", &BlockMask::at, "b"_a, "h"_a, "x"_a, "y"_a, "Whether block (x, y) is set.")
      .def("set", &BlockMask::set, "b"_a, "h"_a, "x"_a, "y"_a, "visible"_a = true,
           "Sets block (x, y), or clears it.")
      .def("count", &BlockMask::count, "The number of blocks that are set.");
}

}  // namespace

void bind_mask(nb::module_& m) {
  bind_block_mask(m);
  nb::class_<Mask> mask(
      m, "Mask",
      "Which keys a query may see: a predicate, applied before the softmax. Masks are values and\n"
      "compose: a & b, a | b, ~a.\n\n"
      "A key's slot is its index among its sequence's tokens that are not padding; a query's "
      "place\n"
      "is the slot of its own token, the last query standing at the last key. Bands and strides "
      "go\n"
      "by position, lists and blocks by slot and place, dense bits by token.");
  bind_factories(mask);
  bind_lists(mask);
  mask.def("__and__", &Mask::operator&, "other"_a, "Visible under both.")
      .def("__or__", &Mask::operator|, "other"_a, "Visible under one at least.")
      .def("__invert__", &Mask::operator~, "Visible where this hides.")
      .def("__repr__", [](const Mask& self) { return "<rapt.Mask: " + self.describe() + ">"; })
      .def(
          "draw",
          [](const Mask& self, std::int64_t q_tokens, std::optional<std::int64_t> kv_tokens) {
            return Mask::draw(problem_of(self, q_tokens, kv_tokens, 1, 1));
          },
          "q_tokens"_a, "kv_tokens"_a = nb::none(),
          "A picture: a line a query, a column a key, '#' visible, '.' hidden. Longer problems "
          "show\n"
          "blocks, '+' where a block is visible in part.")
      .def("visible", &visible, "q_tokens"_a, "kv_tokens"_a = nb::none(), nb::kw_only(),
           "batch"_a = 1, "heads"_a = 1,
           nb::sig(
               "def visible(self, q_tokens: int, kv_tokens: int | None = None, *, batch: int = 1,"
               " heads: int = 1) -> numpy.typing.NDArray[numpy.bool_]"),
           "The whole mask as bool [batch, heads, q_tokens, kv_tokens], for looking at: a T x T "
           "object.");
}

}  // namespace rapt::python
