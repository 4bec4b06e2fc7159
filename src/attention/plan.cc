#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "attention/block.h"
#include "attention/plan_detail.h"
#include "attention/subtrees.h"
#include "attention/views.h"
#include "base/check.h"
#include "base/memory.h"
#include "base/round.h"
#include "kernels/native/native.h"

namespace rapt {
namespace {

// Rows of a block share every chunk of keys while it is in the cache; more would only grow the
// merge states. A multiple of the tile.
constexpr std::int64_t kBlockRows = 528;

// Packed keys and values of a wave, for each worker: what the last-level cache should hold.
constexpr std::int64_t kWaveBytes = std::int64_t{8} << 20;

// Fewer flops are not worth waking a worker for (docs/performance.md, "Small calls").
constexpr double kWorkerFlops = 2.5e5;

// Items a worker: enough that the last ones end together.
constexpr std::int64_t kItemsPerWorker = 4;

constexpr double kLog2E = 1.4426950408889634074;

/// Chunks of a part when `range` is split into about `parts` aligned subtrees.
std::int64_t part_size(Range range, std::int64_t parts) {
  const std::int64_t chunks = std::max<std::int64_t>(range.size(), 1);
  return static_cast<std::int64_t>(
      std::bit_ceil(static_cast<std::uint64_t>(ceil_div(chunks, parts))));
}

class Planner {
 public:
  explicit Planner(PlanDetail& plan) : plan_(plan), problem_(plan.problem) {}

  void make() {
    choose_kernels();
    choose_slots();
    choose_workers();
    choose_blocks();
    for (std::int64_t head = 0; head < heads();) add_wave(head);
    size_scratch();
    explain();
  }

 private:
  std::int64_t heads() const { return plan_.rows() == 0 ? 0 : problem_.batch * problem_.kv_heads; }

  void choose_kernels() {
    plan_.kernels =
        plan_.native() ? &native_attention_kernels(active_isa()) : &attention_kernels(active_isa());
    const double scale = problem_.scale.value_or(
        static_cast<float>(1.0 / std::sqrt(static_cast<double>(problem_.head_dim))));
    const bool capped = problem_.modifiers.softcap.has_value();
    plan_.score_factor = static_cast<float>(capped ? scale : scale * kLog2E);
    for (const float slope : problem_.modifiers.alibi_slopes)
      plan_.slopes.push_back(static_cast<float>(-slope * kLog2E));
    for (const float sink : problem_.modifiers.sinks)
      plan_.sinks.push_back(static_cast<float>(sink * kLog2E));
    plan_.relative_bias = distance_table(problem_);
    const bool observes = plan_.observer != nullptr;
    plan_.v_stride = observes ? plan_.observer->columns() : round_up(problem_.value_dim(), 16);
    plan_.q_stride = plan_.native() ? round_up(problem_.head_dim, 2) : problem_.head_dim;
    plan_.k_floats = plan_.native() ? plan_.q_stride / 2 : problem_.head_dim;
    plan_.v_floats = observes ? 0 : plan_.native() ? plan_.v_stride / 2 : plan_.v_stride;
  }

  /// Chunks that rows [begin, end) are to be computed against.
  Range chunks(std::int64_t sequence, std::int64_t kv_head, std::int64_t begin,
               std::int64_t end) const {
    const Range seen = plan_.tiles.chunks(sequence, kv_head, begin, end);
    if (plan_.role != PlanRole::kRest) return seen;
    return {plan_.prefix_chunks, std::max(seen.end, plan_.prefix_chunks)};
  }

  /// Full tiles that another plan computes.
  std::int64_t tiles_of_prefix() const {
    return plan_.role == PlanRole::kRest
               ? plan_.prefix_chunks * ceil_div(plan_.rows(), kTileQueries) * heads()
               : 0;
  }

  void choose_slots() {
    std::int64_t longest = 0;
    for (std::int64_t b = 0; b < problem_.batch; ++b)
      longest = std::max(longest, problem_.kv_range(b).size());
    for (std::int64_t head = 0; head < heads(); ++head) {
      const std::int64_t sequence = head / problem_.kv_heads;
      const Range seen = chunks(sequence, head % problem_.kv_heads, 0, plan_.rows());
      const std::int64_t slots = round_up(problem_.kv_range(sequence).size(), kGroupKeys);
      plan_.heads.push_back({{seen.begin * kChunkKeys, std::min(seen.end * kChunkKeys, slots)}});
    }
    plan_.slots = round_up(longest, kGroupKeys);
    plan_.levels = std::bit_width(static_cast<std::uint64_t>(chunks_of(longest)));
  }

  void choose_workers() {
    const std::int64_t tiles = plan_.tiles.count(Coverage::kFull) +
                               plan_.tiles.count(Coverage::kPartial) - tiles_of_prefix();
    const std::int64_t rows = std::min<std::int64_t>(kTileQueries, plan_.rows());
    const double flops = 2.0 * static_cast<double>(tiles) * static_cast<double>(rows) *
                         static_cast<double>(std::min<std::int64_t>(kChunkKeys, plan_.slots)) *
                         static_cast<double>(problem_.head_dim + problem_.value_dim());
    plan_.workers = static_cast<int>(
        std::clamp(flops / kWorkerFlops, 1.0, static_cast<double>(plan_.threads.count())));
  }

  void choose_blocks() {
    plan_.stream = plan_.rows() <= kStreamQueries &&         // memory costs more than the products
                   (!plan_.native() || plan_.from_tiles());  // others are paired
    plan_.block_rows = std::min(kBlockRows, plan_.rows());
    const std::int64_t wanted = plan_.workers == 1 ? 1 : plan_.workers * kItemsPerWorker;
    // A prefix has few rows and many chunks, which are packed once if only they are split.
    const std::int64_t chunks = plan_.role == PlanRole::kPrefix ? plan_.prefix_chunks : 1;
    const std::int64_t blocks_of_head = heads() == 0 ? 1 : ceil_div(wanted, heads() * chunks);
    if (blocks_of_head > 1 && plan_.rows() > kTileQueries)
      plan_.block_rows = std::min(plan_.block_rows,
                                  round_up(ceil_div(plan_.rows(), blocks_of_head), kTileQueries));
    const bool one_block = plan_.rows() <= plan_.block_rows;
    if (plan_.source == KvSource::kCache && (plan_.stream || problem_.storage.k == DType::kF32))
      plan_.packing = Packing::kInPlace;
    else if (plan_.source == KvSource::kPages && plan_.stream)
      plan_.packing = Packing::kPages;
    else if (plan_.stream && plan_.source != KvSource::kAnyRows)
      plan_.packing = Packing::kRows;
    else
      plan_.packing = one_block ? Packing::kChunk : Packing::kHead;
    parts_of_block_ = one_block && heads() > 0 ? ceil_div(wanted, heads()) : 1;
  }

  /// Heads from `head` on whose packed keys and values fit together, and their items.
  void add_wave(std::int64_t& head) {
    Wave wave{head, head, size(plan_.splits), 0, size(plan_.items), 0};
    const std::int64_t slot_bytes = plan_.slot_floats() * static_cast<std::int64_t>(sizeof(float));
    const std::int64_t room = kWaveBytes * plan_.workers / slot_bytes;
    std::int64_t packed = 0;
    do {
      plan_.heads[static_cast<std::size_t>(head)].packed = packed;
      packed += packed_slots(head);
      add_head(head++);
    } while (head < heads() && packed + packed_slots(head) <= room);
    plan_.packed_slots = std::max(plan_.packed_slots, packed);
    wave.head_end = head;
    wave.split_end = size(plan_.splits);
    wave.item_end = size(plan_.items);
    plan_.waves.push_back(wave);
  }

  /// Slots that a head keeps packed while others are computed.
  std::int64_t packed_slots(std::int64_t head) const {
    return plan_.packing == Packing::kHead ? plan_.heads[static_cast<std::size_t>(head)].seen.size()
                                           : 0;
  }

  /// The blocks of a head, last rows first: under a causal mask they see most, and workers end
  /// together when the small items come last.
  void add_head(std::int64_t head) {
    const std::int64_t blocks = ceil_div(plan_.rows(), plan_.block_rows);
    for (std::int64_t block = blocks - 1; block >= 0; --block) {
      const std::int64_t row = block * plan_.block_rows;
      add_block(head / problem_.kv_heads, head % problem_.kv_heads, row,
                std::min(plan_.rows(), row + plan_.block_rows));
    }
  }

  /// Splits of the rows of a block: one, or one for each node of a prefix.
  void add_block(std::int64_t sequence, std::int64_t kv_head, std::int64_t row_begin,
                 std::int64_t row_end) {
    const Range seen = chunks(sequence, kv_head, row_begin, row_end);
    const std::int64_t part = part_size(seen, parts_of_block_);
    WorkItem item{sequence, kv_head, row_begin, row_end, seen.begin, seen.end, 0};
    if (plan_.role != PlanRole::kPrefix) return add_split(item, part, 0);
    std::int64_t node = 0;
    for_each_subtree({seen.begin, seen.end}, [&](int level, std::int64_t index) {
      item.chunk_begin = index << level;
      item.chunk_end = (index + 1) << level;
      add_split(item, part, node++);
    });
  }

  /// The rows of `all` against its chunks, in parts of at most so many.
  void add_split(const WorkItem& all, std::int64_t part_chunks, std::int64_t node) {
    Split split{size(plan_.items), 0, node};
    std::int64_t chunk = all.chunk_begin;
    do {  // a block that sees nothing is one item of no chunks
      WorkItem item = all;
      item.chunk_begin = chunk;
      item.split = size(plan_.splits);
      if (parts_of_block_ > 1)
        item.chunk_end = std::min(all.chunk_end, end_of_part(chunk, part_chunks));
      chunk = item.chunk_end;
      plan_.items.push_back(item);
    } while (chunk < all.chunk_end);
    split.items = size(plan_.items) - split.first_item;
    plan_.splits.push_back(split);
  }

  /// The end of the part that begins at `chunk`. What comes before the first part is hidden, unless
  /// it is a prefix: then a part begins with its subtree.
  std::int64_t end_of_part(std::int64_t chunk, std::int64_t part_chunks) const {
    if (plan_.role == PlanRole::kRest && chunk > 0)
      part_chunks = std::min(part_chunks, chunk & -chunk);
    return (chunk / part_chunks + 1) * part_chunks;
  }

  void size_scratch() {
    std::int64_t wave_heads = 0, wave_splits = 0, parts = 0;
    for (const Wave& wave : plan_.waves) {
      wave_heads = std::max(wave_heads, wave.head_end - wave.head_begin);
      wave_splits = std::max(wave_splits, wave.split_end - wave.split_begin);
      parts = std::max(parts, wave.item_end - wave.item_begin);
    }
    plan_.packed_heads = plan_.packing == Packing::kHead ? wave_heads : 0;
    plan_.counters = wave_splits;
    plan_.partial_nodes = parts_of_block_ > 1 ? parts : 0;
    Carver carver;
    RunMemory(plan_, carver);
    plan_.scratch_bytes = carver.bytes();
  }

  void explain() {
    const auto line = [&](const char* name, const std::string& value) {
      plan_.explanation.emplace_back(name, value);
    };
    const auto number = [](std::int64_t value) { return std::to_string(value); };
    line("isa", name(plan_.kernels->isa));
    line("arithmetic", !plan_.native() ? name(problem_.arithmetic)
                       : plan_.kernels->isa == Isa::kAvx512Bf16
                           ? "native bf16, by the dot product instruction"
                           : "native bf16, by two fma steps");
    const Storage& s = problem_.storage;
    line("types", std::string("q ") + name(s.q) + ", k " + name(s.k) + ", v " + name(s.v) + ", o " +
                      name(s.o));
    line("mask", problem_.mask.describe());
    line("modifiers", describe_modifiers());
    line("tiles", number(plan_.tiles.count(Coverage::kHidden)) + " skipped, " +
                      number(plan_.tiles.count(Coverage::kFull) - tiles_of_prefix()) + " full, " +
                      number(plan_.tiles.count(Coverage::kPartial)) + " partial");
    line("path", plan_.stream ? "decode" : "prefill");
    line("kv", describe_kv());
    line("tile", number(kTileQueries) + " rows by " + number(kChunkKeys) + " keys, registers " +
                     number(plan_.kernels->tile_rows) + " rows");
    line("rows a head",
         number(plan_.rows()) + " (" + number(problem_.group()) + " query heads share a kv head)");
    line("block rows", number(plan_.block_rows));
    line("workers", number(plan_.workers));
    line("waves", number(size(plan_.waves)));
    line("work items", number(size(plan_.items)));
    line("split", parts_of_block_ == 1
                      ? "none"
                      : "chunks, about " + number(parts_of_block_) + " parts a block");
    if (plan_.role != PlanRole::kWhole)
      line("cascade", (plan_.role == PlanRole::kPrefix ? "chunks below " : "chunks from ") +
                          number(plan_.prefix_chunks) +
                          (plan_.role == PlanRole::kPrefix ? ", for the rows of all who share them"
                                                           : " on, after those that are shared"));
    line("scratch bytes", number(static_cast<std::int64_t>(plan_.scratch_bytes)));
  }

  std::string describe_kv() const {
    const bool tensors = plan_.source == KvSource::kTensors;
    const std::string from = tensors                            ? "tensors"
                             : plan_.from_row_pages()           ? "rows in pages"
                             : plan_.source == KvSource::kPages ? "pages"
                                                                : "cache tiles";
    if (plan_.packing == Packing::kInPlace || plan_.packing == Packing::kPages)
      return from + ", read in place";
    if (plan_.packing == Packing::kRows)
      return from + (tensors ? ", packed as they are streamed"
                             : ", read in place, keys packed as they are streamed");
    const std::string packed = tensors                             ? "packed tensors,"
                               : plan_.from_row_pages()            ? from + ", packed"
                               : plan_.native()                    ? from + ", paired"
                               : problem_.storage.k == DType::kF32 ? from + ", gathered"
                                                                   : from + ", widened";
    if (plan_.packing == Packing::kHead) return packed + " once a kv head";
    return packed + " once a chunk" +
           (plan_.stream ? ": a group of 16 keys may lie in two pages" : "");
  }

  std::string describe_modifiers() const {
    const ScoreModifiers& modifiers = problem_.modifiers;
    std::string text;
    const auto add = [&](bool is_there, const char* name) {
      if (is_there) text += (text.empty() ? "" : ", ") + std::string(name);
    };
    add(modifiers.softcap.has_value(), "softcap");
    add(!modifiers.alibi_slopes.empty(), "ALiBi");
    add(modifiers.relative_bias.has_value(), "relative bias");
    add(modifiers.additive_bias, "bias");
    add(!modifiers.sinks.empty(), "sinks");
    return text.empty() ? "none" : text;
  }

  template <class T>
  static std::int64_t size(const std::vector<T>& list) {
    return static_cast<std::int64_t>(list.size());
  }

  PlanDetail& plan_;
  const Problem& problem_;
  std::int64_t parts_of_block_ = 1;
};

}  // namespace

Plan PlanDetail::make_part(const Problem& problem, const Threads& threads, KvSource source,
                           PlanRole role, std::int64_t prefix_chunks,
                           const StripObserver* observer) {
  return with_memory("make_plan", [&] {
    problem.validate();
    auto detail =
        std::make_shared<PlanDetail>(problem, threads, source, role, prefix_chunks, observer);
    const Storage& types = problem.storage;
    require(!detail->from_row_pages() || !is_quantised(types.k), ErrorCode::kBadArgument,
            "Problem.storage.k", "f32, bf16 or f16, as keys lie in rows", name(types.k));
    if (source == KvSource::kTensors) {
      require(!is_quantised(types.k), ErrorCode::kBadArgument, "Problem.storage.k",
              "f32, bf16 or f16, as k is a tensor", name(types.k));
      require(!is_quantised(types.v), ErrorCode::kBadArgument, "Problem.storage.v",
              "f32, bf16 or f16, as v is a tensor", name(types.v));
    } else {
      require(types.k == types.v, ErrorCode::kBadArgument, "Problem.storage.v",
              std::string(name(types.k)) + ", the type of k: a cache has one", name(types.v));
      for (std::int64_t b = 0; b < problem.batch; ++b)
        require(problem.kv_range(b).begin == 0, ErrorCode::kBadArgument, "Problem.kv_ranges",
                "ranges from token 0: a cache holds no padding", problem.kv_range(b).begin);
    }
    Planner(*detail).make();
    return Plan(std::move(detail));
  });
}

Plan make_plan(const Problem& problem, const Threads& threads, KvSource source) {
  return PlanDetail::make_part(problem, threads, source, PlanRole::kWhole, 0);
}

Plan make_plan(const Problem& problem, const Threads& threads, const KvTiles& cache) {
  return make_plan(problem, threads, source_of(cache, problem.kv_tokens));
}

const Problem& Plan::problem() const { return detail_->problem; }
KvSource Plan::source() const { return detail_->source; }
std::size_t Plan::scratch_bytes() const { return detail_->scratch_bytes; }

std::string Plan::explain() const {
  std::string text;
  for (const auto& [name, value] : detail_->explanation)
    text.append(name).append(": ").append(value) += "\n";
  return text;
}

std::string Plan::explain(const std::string& name) const {
  for (const auto& [key, value] : detail_->explanation)
    if (key == name) return value;
  return {};
}

}  // namespace rapt
