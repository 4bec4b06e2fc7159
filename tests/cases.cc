#include "cases.h"

#include <algorithm>
#include <set>

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

const char* const kPaddingNames[] = {"none", "left", "right", "mixed"};
const char* const kValueNames[] = {"normal", "peaked", "large", "tiny"};

enum Axis { kQ, kK, kMask, kPadding, kD, kDv, kHead, kBatch, kLayout, kValue, kSource, kThread };

std::vector<int> axis_levels() {
  const auto size = [](const auto& v) { return static_cast<int>(v.size()); };
  return {size(kLengths),
          size(kLengths),
          size(masks()),
          4,
          size(kHeadDims),
          size(kValueDims),
          size(kHeads),
          2,
          kLayouts,
          4,
          2,
          2};
}

AttentionCase case_of(const std::vector<int>& level) {
  AttentionCase c;
  c.q_tokens = kLengths[level[kQ]];
  c.kv_tokens = kLengths[level[kK]];
  c.mask = &masks()[level[kMask]];
  c.padding = static_cast<Padding>(level[kPadding]);
  c.head_dim = kHeadDims[level[kD]];
  c.v_head_dim = kValueDims[level[kDv]];
  c.q_heads = kHeads[level[kHead]].q;
  c.kv_heads = kHeads[level[kHead]].kv;
  c.batch = level[kBatch] == 0 ? 1 : 3;
  c.layout = static_cast<Layout>(level[kLayout]);
  c.values = static_cast<Values>(level[kValue]);
  c.source = level[kSource] == 0 ? KvSource::kTensors : KvSource::kCache;
  c.threads = level[kThread] == 0 ? 1 : 3;
  return c;
}

/// A cache holds its tokens from slot 0 on: it has no padding on the left.
bool sensible(const AttentionCase& c) {
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

}  // namespace

const std::vector<NamedMask>& masks() {
  static const std::vector<NamedMask> all = {
      {"none", Mask::none(), {}},
      {"causal", Mask::causal(), {.causal = true}},
      {"window1", Mask::sliding_window(1), {.causal = true, .before = 0}},
      {"window5", Mask::sliding_window(5), {.causal = true, .before = 4}},
      {"window600", Mask::sliding_window(600), {.causal = true, .before = 599}},
      {"window_3_2", Mask::window(3, 2), {.before = 3, .after = 2}},
      {"window_40_700", Mask::window(40, 700), {.before = 40, .after = 700}},
      {"causal_and_window_33_5",
       Mask::causal() & Mask::window(33, 5),
       {.causal = true, .before = 33}},
  };
  return all;
}

const NamedMask& mask_named(const std::string& name) {
  const auto& all = masks();
  return *std::find_if(all.begin(), all.end(), [&](const NamedMask& m) { return name == m.name; });
}

Problem AttentionCase::problem() const {
  Problem p;
  p.batch = batch;
  p.q_tokens = q_tokens;
  p.kv_tokens = kv_tokens;
  p.q_heads = q_heads;
  p.kv_heads = kv_heads;
  p.head_dim = head_dim;
  p.v_head_dim = v_head_dim;
  p.mask = mask->mask;
  if (padding != Padding::kNone)
    for (std::int64_t b = 0; b < batch; ++b) {
      p.q_ranges.push_back(padded(q_tokens, padding, b, false));
      p.kv_ranges.push_back(padded(kv_tokens, padding, b, true));
    }
  return p;
}

std::string AttentionCase::name() const {
  const auto number = [](std::int64_t n) { return std::to_string(n); };
  return std::string(mask->name) + "/b" + number(batch) + "/q" + number(q_tokens) + "/k" +
         number(kv_tokens) + "/h" + number(q_heads) + ":" + number(kv_heads) + "/d" +
         number(head_dim) + ":" + number(problem().value_dim()) + "/pad_" +
         kPaddingNames[static_cast<int>(padding)] + "/" + test::name(layout) + "/" +
         kValueNames[static_cast<int>(values)] + "/" +
         (source == KvSource::kCache ? "cache" : "tensors") + "/threads" + number(threads);
}

double AttentionCase::cost() const {
  return 1.0 * batch * q_heads * q_tokens * kv_tokens * (head_dim + problem().value_dim() + 16);
}

double AttentionCase::floats() const {
  const double features = head_dim + problem().value_dim();
  return batch * features * (1.0 * q_tokens * q_heads + 1.0 * kv_tokens * kv_heads);
}

CaseInputs::CaseInputs(const AttentionCase& c, std::uint64_t seed)
    : q({c.batch, c.q_tokens, c.q_heads, c.head_dim}, c.layout),
      k({c.batch, c.kv_tokens, c.kv_heads, c.head_dim}, c.layout),
      v({c.batch, c.kv_tokens, c.kv_heads, c.problem().value_dim()}, c.layout) {
  static constexpr float kQueryDeviation[] = {1.0f, 8.0f, 1e4f, 1e-20f};
  static constexpr float kKeyDeviation[] = {1.0f, 1.0f, 1.0f, 1e-20f};
  static constexpr float kValueDeviation[] = {1.0f, 1.0f, 1.0f, 1e-39f};
  const int n = static_cast<int>(c.values);
  fill_normal(q.view, 3 * seed, kQueryDeviation[n]);
  fill_normal(k.view, 3 * seed + 1, kKeyDeviation[n]);
  fill_normal(v.view, 3 * seed + 2, kValueDeviation[n]);
}

Outputs run_case(const AttentionCase& c, const CaseInputs& in) {
  const Problem problem = c.problem();
  const Layout out = c.layout == Layout::kBroadcast ? Layout::kContiguous : c.layout;
  const Plan plan = make_plan(problem, Threads(c.threads), c.source);
  if (c.source == KvSource::kTensors) return run_attention(plan, in.inputs(), out);
  DenseKvCache cache({c.batch, c.kv_heads, c.head_dim, c.v_head_dim, c.kv_tokens});
  for (std::int64_t b = 0; b < c.batch; ++b) {
    const std::int64_t length = problem.kv_range(b).size();
    cache.append(b, tokens(sequence(ConstTensor(in.k.view), b), 0, length),
                 tokens(sequence(ConstTensor(in.v.view), b), 0, length));
  }
  return run_attention(plan, {.q = in.q.view, .k = {}, .v = {}, .cache = &cache}, out);
}

void for_each_empty_case(const std::function<void(const AttentionCase&)>& f) {
  static constexpr std::int64_t kSome[] = {0, 1, 17, 600};
  for (const NamedMask& mask : masks())
    for (const std::int64_t batch : {0, 2})
      for (const std::int64_t q : kSome)
        for (const std::int64_t k : kSome)
          for (const auto source : {KvSource::kTensors, KvSource::kCache}) {
            if (batch * q * k != 0) continue;
            AttentionCase c;
            c.batch = batch;
            c.q_tokens = q;
            c.kv_tokens = k;
            c.q_heads = 2;
            c.head_dim = 5;
            c.mask = &mask;
            c.source = source;
            f(c);
          }
}

std::vector<AttentionCase> pairwise_cases() {
  const auto rows = covering_rows(axis_levels(), [](const std::vector<int>& level) {
    const AttentionCase c = case_of(level);
    return sensible(c) && c.cost() <= 1 << 30 && c.floats() <= 1 << 24;
  });
  std::vector<AttentionCase> cases;
  for (const auto& row : rows) cases.push_back(case_of(row));
  return cases;
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
