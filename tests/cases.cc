#include "cases.h"

#include <algorithm>
#include <limits>
#include <set>

#include "base/round.h"
#include "paged_tokens.h"
#include "pairwise.h"

namespace rapt::test {
namespace {

const std::vector<std::int64_t> kLengths = {1,  2,   3,   7,   15,  16,  17,   31,   47,   48,
                                            49, 127, 257, 511, 512, 513, 1021, 1025, 4096, 131072};
const std::vector<std::int64_t> kHeadDims = {1,  2,   3,   31,  59,  64,  80,
                                             96, 111, 128, 192, 256, 512, 576};
const std::vector<std::int64_t> kValueDims = {1, 0, 2, 16, 33, 64, 130, 576};
struct Heads {
  std::int64_t q, kv;
};
const std::vector<Heads> kHeads = {{1, 1}, {3, 3}, {2, 1}, {6, 3}, {7, 1}, {8, 1}, {71, 1}};

constexpr DType kF32 = DType::kF32, kBF16 = DType::kBF16, kF16 = DType::kF16;
const std::vector<Storage> kStorages = {Storage::all(kF32),        Storage::all(kBF16),
                                        Storage::all(kF16),        {kBF16, kF16, kF32, kBF16},
                                        {kF32, kBF16, kF16, kF16}, {kF16, kBF16, kBF16, kF32},
                                        {kF32, kF32, kF32, kBF16}};

const std::vector<KvSource> kSources = {KvSource::kTensors, KvSource::kCache, KvSource::kPages};
const char* const kSourceNames[] = {"tensors", "cache", "pages"};

const char* const kPaddingNames[] = {"none", "left", "right", "mixed"};
const char* const kValueNames[] = {"normal", "peaked", "large", "tiny"};

const char* const kModifierNames[kModifierSets] = {"none", "softcap", "alibi", "relative",
                                                   "bias", "sinks",   "all"};

enum Axis {
  kQ,
  kK,
  kMask,
  kModifier,
  kPosition,
  kPadding,
  kD,
  kDv,
  kHead,
  kBatch,
  kLayout,
  kValue,
  kStorage,
  kSource,
  kThread
};

std::vector<int> axis_levels() {
  const auto size = [](const auto& v) { return static_cast<int>(v.size()); };
  return {size(kLengths),
          size(kLengths),
          size(masks()),
          kModifierSets,
          2,
          4,
          size(kHeadDims),
          size(kValueDims),
          size(kHeads),
          2,
          kLayouts,
          4,
          size(kStorages),
          size(kSources),
          2};
}

AttentionCase case_of(const std::vector<int>& level) {
  AttentionCase c;
  c.q_tokens = kLengths[level[kQ]];
  c.kv_tokens = kLengths[level[kK]];
  c.mask = &masks()[level[kMask]];
  c.modifiers = static_cast<Modifiers>(level[kModifier]);
  c.positions = static_cast<Positions>(level[kPosition]);
  c.padding = static_cast<Padding>(level[kPadding]);
  c.head_dim = kHeadDims[level[kD]];
  c.v_head_dim = kValueDims[level[kDv]];
  c.q_heads = kHeads[level[kHead]].q;
  c.kv_heads = kHeads[level[kHead]].kv;
  c.batch = level[kBatch] == 0 ? 1 : 3;
  c.layout = static_cast<Layout>(level[kLayout]);
  c.values = static_cast<Values>(level[kValue]);
  c.storage = kStorages[level[kStorage]];
  c.source = static_cast<KvSource>(level[kSource]);
  c.threads = level[kThread] == 0 ? 1 : 3;
  return c;
}

/// A cache holds its tokens from slot 0 on: it has no padding on the left. It has one type.
bool sensible(const AttentionCase& c) {
  // Masks by token are matrices: made again for each problem of a case.
  const std::int64_t pairs = c.batch * c.q_heads * c.q_tokens * c.kv_tokens;
  if (c.mask->of_tokens && pairs > 1 << 20) return false;
  if (c.source != KvSource::kTensors && c.storage.k != c.storage.v) return false;
  if (c.mask == &mask_named("blocks_of_heads") && c.kv_tokens > 4096) return false;
  return c.source == KvSource::kTensors || c.padding == Padding::kNone ||
         c.padding == Padding::kRight;
}

Range padded(std::int64_t tokens, Padding padding, std::int64_t b, bool keys) {
  const std::int64_t pad = (tokens + b) / (keys ? 4 + b : 3 + b);
  switch (padding) {
    case Padding::kNone:
      return {0, tokens};
    case Padding::kLeft:
      return {pad, tokens};
    case Padding::kRight:
      return {0, tokens - pad};
    case Padding::kMixed:
      break;
  }
  if (b == 0) return {pad / 2, tokens - pad / 3};
  if (b == 1) return keys ? Range{0, 0} : Range{0, tokens};
  return keys ? Range{0, tokens - pad} : Range{pad, tokens};
}

bool has(Modifiers set, Modifiers one) { return set == one || set == Modifiers::kAll; }

ScoreModifiers modifiers_of(Modifiers set, std::int64_t q_heads) {
  ScoreModifiers m;
  if (has(set, Modifiers::kSoftcap)) m.softcap = 3.0f;
  if (has(set, Modifiers::kAlibi)) m.alibi_slopes = alibi_slopes(q_heads);
  if (has(set, Modifiers::kRelative)) {
    m.relative_bias = RelativeBias{12, 40, q_heads % 2 == 0, {}};
    Rng rng(9);
    for (std::int64_t n = 0; n < 12 * q_heads; ++n) m.relative_bias->table.push_back(rng.normal());
  }
  m.additive_bias = has(set, Modifiers::kBias);
  if (has(set, Modifiers::kSinks)) {
    Rng rng(8);
    for (std::int64_t h = 0; h < q_heads; ++h) m.sinks.push_back(2 * rng.normal());
    m.sinks.front() = -std::numeric_limits<float>::infinity();
  }
  return m;
}

/// Two apart, with neighbours swapped and a shift for each sequence.
std::vector<std::int64_t> positions_of(std::int64_t batch, std::int64_t tokens,
                                       std::int64_t shift) {
  std::vector<std::int64_t> positions;
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t t = 0; t < tokens; ++t) positions.push_back(2 * (t ^ 1) + 5 * b + shift);
  return positions;
}

}  // namespace

Problem AttentionCase::problem() const {
  Problem p;
  p.batch = batch;
  p.q_tokens = q_tokens;
  p.kv_tokens = kv_tokens;
  p.q_heads = q_heads;
  p.kv_heads = kv_heads;
  p.head_dim = head_dim;
  p.v_head_dim = v_head_dim;
  p.storage = storage;
  p.arithmetic = arithmetic;
  p.modifiers = modifiers_of(modifiers, q_heads);
  if (positions == Positions::kGiven) {
    p.q_positions = positions_of(batch, q_tokens, 2 * (kv_tokens - q_tokens) + 1);
    p.kv_positions = positions_of(batch, kv_tokens, -3);
  }
  if (padding != Padding::kNone)
    for (std::int64_t b = 0; b < batch; ++b) {
      p.q_ranges.push_back(padded(q_tokens, padding, b, false));
      p.kv_ranges.push_back(padded(kv_tokens, padding, b, true));
    }
  p.mask = mask->make(p);
  return p;
}

std::string AttentionCase::name() const {
  const auto number = [](std::int64_t n) { return std::to_string(n); };
  const std::string modified = modifiers == Modifiers::kNone
                                   ? ""
                                   : std::string("/") + kModifierNames[static_cast<int>(modifiers)];
  const std::string placed = positions == Positions::kDefault ? "" : "/positions";
  const std::string stored = storage == Storage{}
                                 ? ""
                                 : std::string("/") + rapt::name(storage.q) + "_" +
                                       rapt::name(storage.k) + "_" + rapt::name(storage.v) + "_" +
                                       rapt::name(storage.o);
  return std::string(mask->name) + modified + placed + "/b" + number(batch) + "/q" +
         number(q_tokens) + "/k" + number(kv_tokens) + "/h" + number(q_heads) + ":" +
         number(kv_heads) + "/d" + number(head_dim) + ":" +
         number(v_head_dim == 0 ? head_dim : v_head_dim) + "/pad_" +
         kPaddingNames[static_cast<int>(padding)] + "/" + test::name(layout) + "/" +
         kValueNames[static_cast<int>(values)] + stored +
         (arithmetic == Arithmetic::kF32 ? "/" : "/native/") +
         kSourceNames[static_cast<int>(source)] + "/threads" + number(threads);
}

double AttentionCase::cost() const {
  return 1.0 * batch * q_heads * q_tokens * kv_tokens *
         (head_dim + (v_head_dim == 0 ? head_dim : v_head_dim) + 16);
}

double AttentionCase::floats() const {
  const double features = head_dim + (v_head_dim == 0 ? head_dim : v_head_dim);
  const Dims bias = bias_extents();
  return batch * features * (1.0 * q_tokens * q_heads + 1.0 * kv_tokens * kv_heads) +
         1.0 * bias[0] * bias[1] * bias[2] * bias[3];
}

Dims AttentionCase::bias_extents() const {
  if (!has(modifiers, Modifiers::kBias)) return {};
  switch ((q_tokens + kv_tokens + q_heads) % 4) {
    case 0:
      return {1, 1, q_tokens, kv_tokens};
    case 1:
      return {batch, q_heads, 1, kv_tokens};
    case 2:
      return {1, q_heads, q_tokens, 1};
    default:
      return {batch, 1, q_tokens, kv_tokens};
  }
}

CaseInputs::CaseInputs(const AttentionCase& c, std::uint64_t seed)
    : q({c.batch, c.q_tokens, c.q_heads, c.head_dim}, c.layout),
      k({c.batch, c.kv_tokens, c.kv_heads, c.head_dim}, c.layout),
      v({c.batch, c.kv_tokens, c.kv_heads, c.v_head_dim == 0 ? c.head_dim : c.v_head_dim},
        c.layout),
      bias(c.bias_extents(), c.layout == Layout::kBroadcast ? Layout::kContiguous : c.layout),
      storage(c.storage),
      layout(c.layout) {
  static constexpr float kQueryDeviation[] = {1.0f, 8.0f, 1e4f, 1e-20f};
  static constexpr float kKeyDeviation[] = {1.0f, 1.0f, 1.0f, 1e-20f};
  static constexpr float kValueDeviation[] = {1.0f, 1.0f, 1.0f, 1e-39f};
  const int n = static_cast<int>(c.values);
  const auto deviation = [&](const float(&all)[4], DType dtype) {
    return c.values == Values::kTiny && dtype == kF16 ? 3e-7f : all[n];  // its denormals
  };
  fill_normal(q.view, 3 * seed, deviation(kQueryDeviation, storage.q));
  fill_normal(k.view, 3 * seed + 1, deviation(kKeyDeviation, storage.k));
  fill_normal(v.view, 3 * seed + 2, deviation(kValueDeviation, storage.v));
  fill_normal(bias.view, 3 * seed + 3);
  for_each_index(bias.view.extents, [&](auto a, auto b, auto i, auto j) {
    if ((3 * i + j) % 7 == 5) bias.view.at(a, b, i, j) = -std::numeric_limits<float>::infinity();
  });
  if (c.modifiers != Modifiers::kBias && c.modifiers != Modifiers::kAll) bias.view.data = nullptr;
}

Inputs CaseInputs::inputs() const {
  round_to(q.view, storage.q);
  round_to(k.view, storage.k);
  round_to(v.view, storage.v);
  return {.q = q.view, .k = k.view, .v = v.view, .bias = bias.view};
}

PagedSequences::PagedSequences(const Problem& p, const AnyConstTensor& k, const AnyConstTensor& v,
                               std::int64_t page_size)
    : cache({2, p.kv_heads, p.head_dim, p.v_head_dim, page_size,
             p.batch * ceil_div(p.kv_tokens, page_size), p.storage.k}) {
  for (std::int64_t b = 0; b < p.batch; ++b) ids.push_back(cache.create());
  std::reverse(ids.begin(), ids.end());
  for (std::int64_t first = 0; first < p.kv_tokens;) {  // a piece of each in turn
    const std::int64_t piece = 1 + first % 7 * 23;
    for (std::int64_t b = 0; b < p.batch; ++b) {
      const std::int64_t end = std::min(first + piece, p.kv_range(b).size());
      if (end <= first) continue;
      cache.extend(ids[b], end - first);
      cache.store(1, ids[b], first, tokens(sequence(k, b), first, end - first),
                  tokens(sequence(v, b), first, end - first));
    }
    first += piece;
  }
}

Outputs run_from(KvSource source, const Problem& problem, const Inputs& in, int threads,
                 Layout layout) {
  const Plan plan = make_plan(problem, Threads(threads), source);
  const Layout out = layout == Layout::kBroadcast ? Layout::kContiguous : layout;
  const Stored q(in.q, problem.storage.q, layout), k(in.k, problem.storage.k, layout),
      v(in.v, problem.storage.v, layout);
  if (source == KvSource::kTensors)
    return run_attention(plan, {.q = q.view, .k = k.view, .v = v.view, .bias = in.bias}, out);
  if (source == KvSource::kPages) {
    const std::int64_t sizes[] = {16, 48, 112, 512};
    const PagedSequences pages(problem, k.view, v.view, sizes[problem.kv_tokens % 4]);
    return run_attention(plan, pages.inputs(q.view, in.bias), out);
  }
  const bool v_in_k = source == KvSource::kRows;
  DenseKvCache cache({problem.batch, problem.kv_heads, problem.head_dim, problem.v_head_dim,
                      problem.kv_tokens, problem.storage.k, v_in_k});
  for (std::int64_t b = 0; b < problem.batch; ++b) {
    const std::int64_t length = problem.kv_range(b).size();
    const AnyConstTensor keys = tokens(sequence(k.view, b), 0, length);
    if (v_in_k)
      cache.append(b, keys);
    else
      cache.append(b, keys, tokens(sequence(v.view, b), 0, length));
  }
  return run_attention(plan, {.q = q.view, .k = {}, .v = {}, .cache = &cache, .bias = in.bias},
                       out);
}

Outputs run_case(const AttentionCase& c, const CaseInputs& in) {
  return run_from(c.source, c.problem(), in.inputs(), c.threads, c.layout);
}

void for_each_empty_case(const std::function<void(const AttentionCase&)>& f) {
  static constexpr std::int64_t kSome[] = {0, 1, 17, 600};
  std::size_t n = 0;
  for (const NamedMask& mask : masks())
    for (const std::int64_t batch : {0, 2})
      for (const std::int64_t q : kSome)
        for (const std::int64_t k : kSome)
          for (const auto source : kSources) {
            if (batch * q * k != 0) continue;
            AttentionCase c;
            c.batch = batch;
            c.q_tokens = q;
            c.kv_tokens = k;
            c.q_heads = 2;
            c.head_dim = 5;
            c.mask = &mask;
            c.source = source;
            c.storage = kStorages[n++ % (source == KvSource::kTensors ? kStorages.size() : 3)];
            f(c);
          }
}

std::vector<AttentionCase> pairwise_cases() {
  const auto rows = covering_rows(axis_levels(), [](const std::vector<int>& level) {
    const AttentionCase c = case_of(level);
    return sensible(c) && c.cost() <= 1 << 29 && c.floats() <= 1 << 23;
  });
  std::vector<AttentionCase> cases;
  for (const auto& row : rows) cases.push_back(case_of(row));
  return cases;
}

AttentionCase in_native(AttentionCase c) {
  c.arithmetic = Arithmetic::kNativeBF16;
  c.storage.q = c.storage.k = c.storage.v = kBF16;
  return c;
}

void for_each_grid_case(const std::function<void(const AttentionCase&)>& f) {
  const std::vector<int> levels = axis_levels();
  Rng rng(2);
  std::vector<int> level(levels.size());
  const auto draw = [&](Axis axis) { level[axis] = static_cast<int>(rng.below(levels[axis])); };
  for (level[kQ] = 0; level[kQ] < levels[kQ]; ++level[kQ])
    for (level[kK] = 0; level[kK] < levels[kK]; ++level[kK])
      for (level[kMask] = 0; level[kMask] < levels[kMask]; ++level[kMask])
        for (level[kPadding] = 0; level[kPadding] < levels[kPadding]; ++level[kPadding])
          for (level[kD] = 0; level[kD] < levels[kD]; ++level[kD]) {
            for (const Axis axis : {kDv, kHead, kBatch, kLayout, kValue, kSource, kThread})
              draw(axis);
            const AttentionCase c = case_of(level);
            if (sensible(c) && c.cost() <= 1LL << 34 && c.floats() <= 1 << 27) f(c);
          }
}

bool full_grid() {
  const char* set = std::getenv("RAPT_FULL_GRID");
  return set != nullptr && std::string(set) == "1";
}

std::vector<std::int64_t> sample_rows(std::int64_t tokens, std::int64_t count) {
  std::set<std::int64_t> rows;
  if (tokens <= count) {
    for (std::int64_t i = 0; i < tokens; ++i) rows.insert(i);
  } else {
    Rng rng(tokens);
    rows = {0, tokens - 1};
    while (static_cast<std::int64_t>(rows.size()) < count) rows.insert(rng.below(tokens));
  }
  return {rows.begin(), rows.end()};
}

}  // namespace rapt::test
