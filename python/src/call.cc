#include "call.h"

#include <iterator>

#include "block_tables.h"
#include "error.h"
#include "paged_cache.h"
#include "plans.h"

namespace rapt::python {

Call::Call(const Given& given) {
  take_cache(given);
  q_.emplace(given.q, "attention.q");
  inputs_.q = q_->view();
  if (!given.sequences.is_none() && std::ssize(sequences_) != inputs_.q.extents[0])
    refuse("attention.sequences", std::to_string(inputs_.q.extents[0]) + ", one for each of q",
           std::to_string(sequences_.size()), ErrorCode::kBadShape);
  if (given.cache.is_none()) {
    k_.emplace(given.k, "attention.k");
    v_.emplace(given.v, "attention.v");
    inputs_.k = k_->view();
    inputs_.v = v_->view();
  }
  if (!given.bias.is_none()) {
    bias_.emplace(given.bias, "attention.bias");
    inputs_.bias = bias_->f32_view();
  }
  if (!given.out.is_none()) {
    out_.emplace(given.out, "attention.out");
    result_.o = out_->mutable_view();
    for (const AnyConstTensor& in : {inputs_.q, inputs_.k, inputs_.v, AnyConstTensor(inputs_.bias)})
      if (in.data != nullptr && overlap(result_.o, in))
        refuse("attention.out", "memory of its own", "memory of q, k, v or bias");
  }
}

namespace {

/// How the tiles are read: rows where tokens lie in them, else `tiled`.
KvSource source_of(const KvTiles& tiles, KvSource tiled) {
  if (!tiles.extents().rows) return tiled;
  return tiles.tile_slots() % 16 == 0 ? KvSource::kRows : KvSource::kAnyRows;
}

}  // namespace

FoundCache find_cache(nb::handle cache, const char* where) {
  if (PyTiles* layer = nullptr; nb::try_cast(cache, layer) && layer != nullptr)
    return {&layer->tiles, source_of(layer->tiles, KvSource::kPages), &layer->cache.use};
  if (PyBlockTables* blocks = nullptr; nb::try_cast(cache, blocks) && blocks != nullptr)
    return {&blocks->tables, source_of(blocks->tables, KvSource::kPages), nullptr};
  auto& dense = cast_to<PyCache>(
      cache, where, "a rapt.DenseKvCache, a layer of a rapt.PagedKvCache or rapt.BlockTables");
  return {&dense.cache, source_of(dense.cache, KvSource::kCache), &dense.use};
}

void Call::take_cache(const Given& given) {
  if (given.cache.is_none()) {
    if (!given.sequences.is_none()) refuse("attention.sequences", "a cache beside them", "none");
    return;
  }
  if (!given.k.is_none() || !given.v.is_none())
    refuse("attention.cache", "no k and v beside it", "both");
  const FoundCache found = find_cache(given.cache, "attention.cache");
  source_ = found.source;
  if (found.use != nullptr) reading_.emplace(*found.use, "attention.cache");
  inputs_.cache = found.tiles;
  if (given.sequences.is_none()) return;
  sequences_ = ints_of(given.sequences, "attention.sequences");
  inputs_.sequences = sequences_;
}

nb::object Call::run(const Plan& plan, bool return_lse) {
  const Problem& p = plan.problem();
  if (!out_) {
    out_ = Array::empty(library(), p.storage.o, {p.batch, p.q_tokens, p.q_heads, p.value_dim()});
    result_.o = out_->mutable_view();
  }
  std::optional<Array> lse;
  if (return_lse) {
    lse = Array::empty(library(), DType::kF32, {p.batch, p.q_heads, p.q_tokens});
    result_.lse = lse->mutable_f32_view(3);
  }
  const BorrowedScratch scratch;
  {
    const nb::gil_scoped_release release;
    rapt::run(plan, inputs_, *scratch, result_);
  }
  if (!return_lse) return out_->object();
  return nb::make_tuple(out_->object(), lse->object());
}

NewResult::NewResult(const Library& library, DType dtype, const Dims& d)
    : o(Array::empty(library, dtype, {d[0], d[1], d[2], d[3]})),
      lse(Array::empty(library, DType::kF32, {d[0], d[2], d[1]})) {}

Result NewResult::result() const {
  return {.o = o.mutable_view(), .lse = lse.mutable_f32_view(3), .m = {}, .l = {}};
}

}  // namespace rapt::python
