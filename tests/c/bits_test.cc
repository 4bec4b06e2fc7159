// The C ABI gives the bits of the C++ API: every mask, modifier, type, cache, state, rotary scaling.

#include <gtest/gtest.h>

#include <cmath>

#include "c/owned.h"
#include "cases.h"
#include "rapt/rapt.h"
#include "rapt/rotary.h"

namespace rapt::test {
namespace {

void must(rapt_status status) { ASSERT_EQ(status, RAPT_OK) << rapt_error_message(); }

template <class View>
rapt_tensor c_view(const View& view, DType dtype = DType::kF32) {
  rapt_tensor made{};
  made.data = const_cast<void*>(static_cast<const void*>(view.data));
  made.dtype = static_cast<rapt_dtype>(dtype);
  std::copy(view.extents.begin(), view.extents.end(), made.extents);
  std::copy(view.strides.begin(), view.strides.end(), made.strides);
  return made;
}
template <class Memory>
rapt_tensor c_view(const AnyView<Memory>& view) {
  return c_view(view, view.dtype);
}

constexpr std::int64_t kKeys = 70, kQueries = 40;

/// Two sequences, the second with padding; everything that a problem can say but its mask.
Problem plain_problem() {
  Problem p;
  p.batch = 2;
  p.q_tokens = kQueries;
  p.kv_tokens = kKeys;
  p.q_heads = 4;
  p.kv_heads = 2;
  p.head_dim = 16;
  p.v_head_dim = 24;
  p.q_ranges = {{0, 40}, {4, 38}};
  p.kv_ranges = {{0, 70}, {0, 61}};
  return p;
}

/// The same as a C struct, which points into `p` and itself.
struct CProblem {
  rapt_problem c{};
  std::vector<rapt_range> q_ranges, kv_ranges;
  rapt_relative_bias relative{};

  CProblem(const Problem& p, const rapt_mask* mask) {
    c.size = sizeof c;
    c.batch = p.batch;
    c.q_tokens = p.q_tokens;
    c.kv_tokens = p.kv_tokens;
    c.q_heads = p.q_heads;
    c.kv_heads = p.kv_heads;
    c.head_dim = p.head_dim;
    c.v_head_dim = p.v_head_dim;
    c.q_type = static_cast<rapt_dtype>(p.storage.q);
    c.k_type = static_cast<rapt_dtype>(p.storage.k);
    c.v_type = static_cast<rapt_dtype>(p.storage.v);
    c.o_type = static_cast<rapt_dtype>(p.storage.o);
    c.mask = mask;
    for (const Range& range : p.q_ranges) q_ranges.push_back({range.begin, range.end});
    for (const Range& range : p.kv_ranges) kv_ranges.push_back({range.begin, range.end});
    c.q_ranges = q_ranges.empty() ? nullptr : q_ranges.data();
    c.kv_ranges = kv_ranges.empty() ? nullptr : kv_ranges.data();
    c.q_positions = p.q_positions.empty() ? nullptr : p.q_positions.data();
    c.q_position_count = std::ssize(p.q_positions);
    c.kv_positions = p.kv_positions.empty() ? nullptr : p.kv_positions.data();
    c.kv_position_count = std::ssize(p.kv_positions);
    c.scale = p.scale.value_or(0.0f);
    c.scale_is_given = p.scale == 0.0f;
    const ScoreModifiers& m = p.modifiers;
    c.softcap = m.softcap.value_or(0.0f);
    c.alibi_slopes = m.alibi_slopes.empty() ? nullptr : m.alibi_slopes.data();
    c.sinks = m.sinks.empty() ? nullptr : m.sinks.data();
    c.additive_bias = m.additive_bias;
    if (m.relative_bias) {
      relative = {m.relative_bias->buckets, m.relative_bias->max_distance,
                  m.relative_bias->bidirectional, m.relative_bias->table.data()};
      c.relative_bias = &relative;
    }
  }
};

rapt_result c_result(const Result& result) {
  rapt_result made{};
  made.size = sizeof made;
  made.o = c_view(result.o);
  made.lse = c_view(result.lse);
  made.m = c_view(result.m);
  made.l = c_view(result.l);
  return made;
}

rapt_inputs c_inputs(const Inputs& in, const rapt_kv_cache* cache = nullptr) {
  rapt_inputs made{};
  made.size = sizeof made;
  made.q = c_view(in.q);
  made.k = c_view(in.k);
  made.v = c_view(in.v);
  made.cache = cache;
  made.bias = c_view(in.bias);
  return made;
}

/// As run_attention of util.h.
Outputs run_c(const Problem& p, const rapt_mask* mask, const Inputs& in, int threads,
              const rapt_kv_cache* cache = nullptr) {
  CThreads workers;
  CPlan plan;
  CScratch scratch;
  const CProblem problem(p, mask);
  must(rapt_threads_create(threads, &workers));
  must(rapt_plan_create(&problem.c, workers, cache == nullptr ? RAPT_FROM_TENSORS : RAPT_FROM_CACHE,
                        &plan));
  must(rapt_scratch_create(&scratch));
  Outputs out(p);
  const Stored o(out.o.view, p.storage.o);
  Result result = out.result();
  result.o = o.view;
  const rapt_inputs inputs = c_inputs(in, cache);
  const rapt_result to = c_result(result);
  must(rapt_run(plan, &inputs, scratch, &to));
  convert(o.view, out.o.view);
  return out;
}

/// Lists of the C ABI that show those of C++.
std::vector<rapt_list> c_lists(const PerSequence<std::int64_t>& lists) {
  std::vector<rapt_list> made;
  for (const auto& list : lists) made.push_back({list.data(), std::ssize(list)});
  return made;
}

/// One mask in both APIs.
struct Pair {
  const char* name;
  Mask mask;
  CMask c;
};

std::vector<Pair> mask_pairs() {
  std::vector<Pair> all;
  const auto add = [&](const char* name, Mask mask, auto&& make) {
    Pair& pair = all.emplace_back(Pair{name, std::move(mask), {}});
    must(make(&pair.c));
  };
  add("none", Mask::none(), rapt_mask_none);
  add("causal", Mask::causal(), rapt_mask_causal);
  add("causal_top_left", Mask::causal_top_left(), rapt_mask_causal_top_left);
  add("sliding_window", Mask::sliding_window(9),
      [](auto m) { return rapt_mask_sliding_window(9, m); });
  add("window", Mask::window(5, 3), [](auto m) { return rapt_mask_window(5, 3, m); });
  add("strided", Mask::strided(3), [](auto m) { return rapt_mask_strided(3, m); });
  add("dilated", Mask::dilated_window(4, 5),
      [](auto m) { return rapt_mask_dilated_window(4, 5, m); });
  const std::vector<std::int64_t> lengths = {12, 33};
  add("prefix", Mask::prefix(lengths),
      [&](auto m) { return rapt_mask_prefix(lengths.data(), std::ssize(lengths), m); });
  PerSequence<std::int64_t> ids(2), kinds(1);
  for (std::int64_t slot = 0; slot < kKeys; ++slot) {
    ids[0].push_back(slot / 20);
    ids[1].push_back(slot / 33);
    kinds[0].push_back(slot * slot % 3);
  }
  add("documents", Mask::documents(ids),
      [&](auto m) { return rapt_mask_documents(c_lists(ids).data(), 2, m); });
  const PerSequence<std::int64_t> offsets = {{0, 25, 70}, {0, 1, 30, 61}};
  add("offsets", Mask::documents_from_offsets(offsets),
      [&](auto m) { return rapt_mask_documents_from_offsets(c_lists(offsets).data(), 2, m); });
  const std::uint8_t seen[9] = {1, 0, 0, 7, 1, 0, 1, 0, 1};
  add("structure",
      Mask::structure(kinds, {{true, false, false}, {true, true, false}, {true, false, true}}),
      [&](auto m) { return rapt_mask_structure(c_lists(kinds).data(), 1, seen, 3, m); });
  const PerSequence<std::int64_t> globals = {{0, 1, 40}, {2}};
  add("global", Mask::global(globals),
      [&](auto m) { return rapt_mask_global(c_lists(globals).data(), 2, m); });
  const PerSequence<std::int64_t> parents = {{-1, 0, 0, 1, 3}, {-1, -1, 1}};
  add("tree", Mask::tree(parents),
      [&](auto m) { return rapt_mask_tree(c_lists(parents).data(), 2, m); });
  const BlockMask::Shape shape{2, 1, 5, 5, 8, 16};
  const rapt_block_shape c_shape = {2, 1, 5, 5, 8, 16};
  std::vector<std::uint8_t> map(50);
  for (std::size_t n = 0; n < map.size(); ++n) map[n] = n % 3 == 0 ? 2 : 0;
  add("blocks",
      Mask::blocks(BlockMask::from_predicate(
          shape, [&](auto b, auto, auto x, auto y) { return map[(b * 5 + x) * 5 + y] != 0; })),
      [&](auto m) { return rapt_mask_blocks(&c_shape, map.data(), m); });
  std::vector<std::uint8_t> bits(4 * kQueries * kKeys);
  for (std::size_t n = 0; n < bits.size(); ++n) bits[n] = static_cast<std::uint8_t>(n * n % 7 % 3);
  const TensorView<const std::uint8_t> dense(bits.data(), {1, 4, kQueries, kKeys},
                                             {0, 1, kKeys * 4, 4});
  add("dense", Mask::dense(dense), [&](auto m) {
    return rapt_mask_dense(bits.data(), dense.extents.data(), dense.strides.data(), m);
  });
  // all: [0] none, [1] causal, [4] window, [7] prefix
  const CMask& causal = all[1].c;
  CMask either;
  must(rapt_mask_or(causal, all[7].c, &either));
  add("composed", (Mask::causal() | Mask::prefix(lengths)) & Mask::window(5, 3),
      [&](auto m) { return rapt_mask_and(either, all[4].c, m); });
  add("not", ~Mask::causal(), [&](auto m) { return rapt_mask_not(all[1].c, m); });
  return all;
}

TEST(CAbi, EveryMask) {
  const Problem plain = plain_problem();
  const Tensor q = normal({2, kQueries, 4, 16}, 1), k = normal({2, kKeys, 2, 16}, 2),
               v = normal({2, kKeys, 2, 24}, 3);
  const Inputs in{q.view, k.view, v.view};
  const std::vector<Pair> pairs = mask_pairs();
  for (const Pair& pair : pairs) {
    SCOPED_TRACE(pair.name);
    Problem p = plain;
    p.mask = pair.mask;
    EXPECT_TRUE(same_bits(run_attention(make_plan(p, Threads(1)), in), run_c(p, pair.c, in, 2)));
    char text[200];
    must(rapt_mask_describe(pair.c, text, sizeof text, nullptr));
    EXPECT_EQ(text, pair.mask.describe());
    const CProblem c(p, pair.c);
    std::int64_t seen = -1;
    must(rapt_problem_visible_pairs(&c.c, &seen));
    EXPECT_EQ(seen, p.visible_pairs());
    std::string picture(20000, ' ');
    std::size_t length = 0;
    must(rapt_problem_draw(&c.c, 1, 2, picture.data(), picture.size(), &length));
    EXPECT_EQ(picture.substr(0, length), Mask::draw(p, 1, 2));
  }
}

/// What a problem may have besides a mask, one at a time and together.
std::vector<Problem> other_problems() {
  std::vector<Problem> all;
  const auto add = [&](auto&& change) {
    Problem p = plain_problem();
    change(p);
    all.push_back(p);
  };
  const auto everything = [&](Problem& p) {
    for (const Problem& other : all) {
      const ScoreModifiers& m = other.modifiers;
      if (m.softcap) p.modifiers.softcap = m.softcap;
      if (m.relative_bias) p.modifiers.relative_bias = m.relative_bias;
      if (!m.alibi_slopes.empty()) p.modifiers.alibi_slopes = m.alibi_slopes;
      if (!m.sinks.empty()) p.modifiers.sinks = m.sinks;
      p.modifiers.additive_bias |= m.additive_bias;
      if (!other.q_positions.empty()) p.q_positions = other.q_positions;
      if (!other.kv_positions.empty()) p.kv_positions = other.kv_positions;
    }
  };
  for (const float scale : {0.7f, 0.0f}) add([&](Problem& p) { p.scale = scale; });
  add([](Problem& p) { p.modifiers.softcap = 2.5f; });
  add([](Problem& p) { p.modifiers.alibi_slopes = alibi_slopes(4); });
  add([](Problem& p) { p.modifiers.sinks = {0.5f, -1, -INFINITY, 3}; });
  add([](Problem& p) { p.modifiers.additive_bias = true; });
  for (const bool both : {false, true})
    add([&](Problem& p) {
      RelativeBias bias{8, 20, both, {}};
      for (int n = 0; n < 32; ++n) bias.table.push_back(static_cast<float>(n % 7) * 0.25f);
      p.modifiers.relative_bias = bias;
    });
  add([](Problem& p) {
    p.mask = Mask::causal();
    p.modifiers.alibi_slopes = alibi_slopes(4);
    for (int n = 0; n < 2 * kQueries; ++n) p.q_positions.push_back(3 * n % 50);
    for (int n = 0; n < kKeys; ++n) p.kv_positions.push_back(2 * n);
  });
  add(everything);
  return all;
}

TEST(CAbi, EveryModifierAndType) {
  const Tensor q = normal({2, kQueries, 4, 16}, 1), k = normal({2, kKeys, 2, 16}, 2),
               v = normal({2, kKeys, 2, 24}, 3), bias = normal({1, 4, kQueries, kKeys}, 4);
  CMask causal;
  must(rapt_mask_causal(&causal));
  int n = 0;
  for (Problem& p : other_problems()) {
    SCOPED_TRACE(n);
    p.storage = {kAllDTypes[n % 3], kAllDTypes[(n + 1) % 3], kAllDTypes[n / 3 % 3],
                 kAllDTypes[(n + 2) % 3]};
    ++n;
    p.mask = Mask::causal();
    const Stored sq(q.view, p.storage.q), sk(k.view, p.storage.k), sv(v.view, p.storage.v);
    Inputs in{sq.view, sk.view, sv.view};
    if (p.modifiers.additive_bias) in.bias = bias.view;
    EXPECT_TRUE(same_bits(run_attention(make_plan(p, Threads(2)), in), run_c(p, causal, in, 1)));
  }
  EXPECT_EQ(n, 10);
}

TEST(CAbi, CachesOfEveryType) {
  const Tensor q = normal({2, kQueries, 4, 16}, 1), k = normal({2, kKeys, 2, 16}, 2),
               v = normal({2, kKeys, 2, 24}, 3), more_k = normal({1, 7, 2, 16}, 5),
               more_v = normal({1, 7, 2, 24}, 6);
  for (const DType dtype : kAllDTypes) {
    SCOPED_TRACE(name(dtype));
    Problem p = plain_problem();
    p.storage.k = p.storage.v = dtype;
    p.kv_tokens = 72;
    p.kv_ranges = {{0, 65}, {0, 72}};
    DenseKvCache cache({2, 2, 16, 24, 80, dtype});
    cache.append(k.view, v.view);
    cache.truncate(0, 65);
    cache.append(1, more_k.view, more_v.view);
    rapt_kv_cache_shape shape{};
    shape.size = sizeof shape;
    shape.dtype = static_cast<rapt_dtype>(dtype);
    shape.batch = shape.kv_heads = 2;
    shape.head_dim = 16;
    shape.v_head_dim = 24;
    shape.capacity = 80;
    CCache c_cache;
    must(rapt_kv_cache_create(&shape, &c_cache));
    const rapt_tensor ck = c_view(k.view), cv = c_view(v.view);
    const rapt_tensor c_more_k = c_view(more_k.view), c_more_v = c_view(more_v.view);
    must(rapt_kv_cache_append(c_cache, &ck, &cv));
    must(rapt_kv_cache_truncate(c_cache, 0, 65));
    must(rapt_kv_cache_append_one(c_cache, 1, &c_more_k, &c_more_v));
    std::size_t size = 0;
    must(rapt_kv_cache_bytes(&shape, &size));
    EXPECT_EQ(size, cache.size_bytes());
    const Plan plan = make_plan(p, Threads(1), KvSource::kCache);
    EXPECT_TRUE(same_bits(run_attention(plan, {.q = q.view, .k = {}, .v = {}, .cache = &cache}),
                          run_c(p, nullptr, {.q = q.view, .k = {}, .v = {}}, 2, c_cache)));
    Tensor k_out({1, 72, 2, 16}), v_out({1, 72, 2, 24}), ck_out({1, 72, 2, 16}),
        cv_out({1, 72, 2, 24});
    cache.read(1, k_out.view, v_out.view);
    const rapt_tensor to_k = c_view(ck_out.view), to_v = c_view(cv_out.view);
    must(rapt_kv_cache_read(c_cache, 1, &to_k, &to_v));
    EXPECT_TRUE(same_bits(k_out.view, ck_out.view));
    EXPECT_TRUE(same_bits(v_out.view, cv_out.view));
  }
}

TEST(CAbi, StatesRowsAndPlans) {
  Problem p;
  p.q_tokens = 3;
  p.kv_tokens = 5 * kChunk - 7;
  p.head_dim = 8;
  const Tensor q = normal({1, 3, 1, 8}, 1), k = normal({1, p.kv_tokens, 1, 8}, 2),
               v = normal({1, p.kv_tokens, 1, 8}, 3);
  const Inputs in{q.view, k.view, v.view};
  const Plan plan = make_plan(p, Threads(1));
  const CProblem c(p, nullptr);
  CPlan c_plan;
  must(rapt_plan_create(&c.c, nullptr, RAPT_FROM_TENSORS, &c_plan));
  std::size_t size = 0, length = 0;
  must(rapt_plan_scratch_bytes(c_plan, &size));
  EXPECT_EQ(size, plan.scratch_bytes());
  std::string text(4000, ' ');
  must(rapt_plan_explain(c_plan, nullptr, text.data(), text.size(), &length));
  EXPECT_EQ(text.substr(0, length), plan.explain());
  must(rapt_plan_explain(c_plan, "mask", text.data(), text.size(), &length));
  EXPECT_EQ(text.substr(0, length), plan.explain("mask"));

  CScratch scratch;
  must(rapt_scratch_create(&scratch));
  const rapt_inputs inputs = c_inputs(in);
  CState a, b, both;
  must(rapt_run_partial(c_plan, &inputs, scratch, 0, 3, &a));
  must(rapt_run_partial(c_plan, &inputs, scratch, 3, 5, &b));
  must(rapt_state_merge(a, b, &both));
  Outputs merged(p), left(p), right(p), finished(p), expected(p);
  const rapt_result to_merged = c_result(merged.result()), to_left = c_result(left.result()),
                    to_right = c_result(right.result()), to_finished = c_result(finished.result());
  must(rapt_state_finish(both, &to_merged));
  EXPECT_TRUE(same_bits(merged, run_attention(plan, in)));
  must(rapt_state_finish(a, &to_left));
  must(rapt_state_finish(b, &to_right));
  must(rapt_merge_finished(&to_left, &to_right, &to_finished));
  merge_finished(left.result(), right.result(), expected.result());
  EXPECT_TRUE(same_bits(finished.o.view, expected.o.view));
  EXPECT_TRUE(same_bits(finished.lse.view, expected.lse.view));

  Tensor rows({1, 1, 2, p.kv_tokens}), c_rows({1, 1, 2, p.kv_tokens});
  Scratch own;
  const std::int64_t which[] = {2, 0};
  for (const auto kind : {RowKind::kWeights, RowKind::kScores}) {
    attention_rows(plan, in, own, {2, 0}, rows.view, kind);
    const rapt_tensor to = c_view(c_rows.view);
    must(rapt_attention_rows(c_plan, &inputs, scratch, which, 2,
                             kind == RowKind::kWeights ? RAPT_WEIGHTS : RAPT_SCORES, &to));
    EXPECT_TRUE(same_bits(rows.view, c_rows.view));
  }
  for (const std::int64_t heads : {8, 12}) {
    std::vector<float> slopes(static_cast<std::size_t>(heads));
    must(rapt_alibi_slopes(heads, slopes.data()));
    EXPECT_EQ(slopes, alibi_slopes(heads));
  }
}

TEST(CAbi, RotaryOfEveryScaling) {
  const std::vector<double> shorter = {1, 1.5, 2, 3}, longer = {2, 3, 4, 9};
  std::vector<std::pair<RotaryConfig, rapt_rotary_config>> all;
  const auto add = [&](const RotaryScaling& scaling, rapt_rotary_scaling kind, auto&& change) {
    RotaryConfig config{8, 5000.0, RotaryStyle::kInterleaved, scaling, RotaryPrecision::kF64};
    rapt_rotary_config c{};
    c.size = sizeof c;
    c.dims = 8;
    c.theta = 5000.0;
    c.style = RAPT_ROTARY_INTERLEAVED;
    c.exact = 1;
    c.scaling = kind;
    c.factor = 4;
    c.original_context = 16;
    change(config, c);
    all.emplace_back(config, c);
  };
  const auto same = [](RotaryConfig&, rapt_rotary_config&) {};
  add({}, RAPT_SCALING_NONE, same);
  add({}, RAPT_SCALING_NONE, [](RotaryConfig& config, rapt_rotary_config& c) {
    config = RotaryConfig{.dims = 8};
    c.theta = 0;
    c.style = RAPT_ROTARY_HALF;
    c.exact = 0;
  });
  add(LinearScaling{4}, RAPT_SCALING_LINEAR, same);
  add(DynamicNtkScaling{4, 16}, RAPT_SCALING_DYNAMIC, same);
  add(YarnScaling{4, 16}, RAPT_SCALING_YARN, same);
  add(YarnScaling{4, 4096, 20, 2, false, 0.7, 0.9, 1.25}, RAPT_SCALING_YARN,
      [](RotaryConfig&, rapt_rotary_config& c) {
        c.original_context = 4096;
        c.beta_fast = 20;
        c.beta_slow = 2;
        c.untruncated = 1;
        c.mscale = 0.7;
        c.mscale_all_dim = 0.9;
        c.attention_factor = 1.25;
      });
  add(Llama3Scaling{4, 1, 4, 16}, RAPT_SCALING_LLAMA3, same);
  add(Llama3Scaling{4, 0.5, 8, 16}, RAPT_SCALING_LLAMA3, [](RotaryConfig&, rapt_rotary_config& c) {
    c.low_freq_factor = 0.5;
    c.high_freq_factor = 8;
  });
  add(LongRopeScaling{shorter, longer, 4, 16}, RAPT_SCALING_LONGROPE,
      [&](RotaryConfig&, rapt_rotary_config& c) {
        c.short_factor = shorter.data();
        c.long_factor = longer.data();
      });
  const std::vector<std::int64_t> positions = {0, 5, 2, 90, 7, 33}, lengths = {10, 100};
  const Tensor x = normal({2, 3, 2, 10}, 1);
  for (const auto& [config, c] : all) {
    SCOPED_TRACE(name(config.scaling));
    Tensor y({2, 3, 2, 10}), c_y({2, 3, 2, 10});
    apply_rotary(Threads(1), Rotary(config).table(positions, lengths), x.view, y.view);
    CTable table;
    must(rapt_rotary_table_create(&c, positions.data(), 6, lengths.data(), 2, &table));
    const rapt_tensor from = c_view(x.view), to = c_view(c_y.view);
    must(rapt_rotary_apply(table, nullptr, &from, &to));
    EXPECT_TRUE(same_bits(y.view, c_y.view));
  }
}

}  // namespace
}  // namespace rapt::test
