// Every rejected argument is an Error that names it.

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "cases.h"
#include "rejects.h"

namespace rapt::test {
namespace {

constexpr std::int64_t kHuge = std::int64_t{1} << 40;

Problem good() {
  Problem p;
  p.batch = 2;
  p.q_tokens = 5;
  p.kv_tokens = 9;
  p.q_heads = 4;
  p.kv_heads = 2;
  p.head_dim = 8;
  p.v_head_dim = 6;
  return p;
}

TEST(BadInput, ProblemFields) {
  struct Bad {
    const char* what;
    std::function<void(Problem&)> break_it;
  };
  const float kNan = std::numeric_limits<float>::quiet_NaN();
  const Bad all[] = {
      {"Problem.batch", [](Problem& p) { p.batch = -1; }},
      {"Problem.q_tokens", [](Problem& p) { p.q_tokens = -1; }},
      {"Problem.kv_tokens", [](Problem& p) { p.kv_tokens = -7; }},
      {"Problem.q_heads", [](Problem& p) { p.q_heads = 0; }},
      {"Problem.q_heads", [](Problem& p) { p.q_heads = 5; }},
      {"Problem.kv_heads", [](Problem& p) { p.kv_heads = 0; }},
      {"Problem.kv_heads", [](Problem& p) { p.kv_heads = -2; }},
      {"Problem.head_dim", [](Problem& p) { p.head_dim = 0; }},
      {"Problem.v_head_dim", [](Problem& p) { p.v_head_dim = -1; }},
      {"Problem elements of q", [](Problem& p) { p.q_heads = p.q_tokens = kHuge; }},
      {"Problem elements of o", [](Problem& p) { p.v_head_dim = kHuge; }},
      {"Problem elements of k", [](Problem& p) { p.batch = 0, p.kv_tokens = kHuge; }},
      {"Problem elements of v",
       [](Problem& p) {
         p.q_tokens = 0;
         p.batch = p.q_heads = p.kv_heads = p.head_dim = 1;
         p.kv_tokens = p.v_head_dim = std::int64_t{1} << 21;
       }},
      {"Problem pairs of tokens",
       [](Problem& p) {
         p.batch = p.q_heads = p.kv_heads = p.head_dim = p.v_head_dim = 1;
         p.q_tokens = (std::int64_t{1} << 20) + 1;
         p.kv_tokens = kHuge;
       }},
      {"Problem.scale", [=](Problem& p) { p.scale = kNan; }},
      {"Problem.scale", [](Problem& p) { p.scale = -0x1.8p127f; }},
      {"Problem.q_ranges",
       [](Problem& p) {
         p.q_ranges = {{0, 5}};
       }},
      {"Problem.q_ranges[1]",
       [](Problem& p) {
         p.q_ranges = {{0, 5}, {0, 6}};
       }},
      {"Problem.q_ranges[0]",
       [](Problem& p) {
         p.q_ranges = {{-1, 5}, {0, 5}};
       }},
      {"Problem.kv_ranges",
       [](Problem& p) {
         p.kv_ranges = {{0, 9}, {0, 9}, {0, 9}};
       }},
      {"Problem.kv_ranges[1]",
       [](Problem& p) {
         p.kv_ranges = {{0, 9}, {3, 10}};
       }},
      {"Problem.kv_ranges[1]",
       [](Problem& p) {
         p.kv_ranges = {{0, 9}, {5, 3}};
       }},
  };
  for (const Bad& bad : all) {
    Problem p = good();
    bad.break_it(p);
    EXPECT_TRUE(rejects(bad.what, kArgument, [&] { make_plan(p, Threads(1)); })) << bad.what;
  }
  EXPECT_NO_THROW(make_plan(good(), Threads(1)));
}

TEST(BadInput, MessagesSayWhatWasExpectedAndGot) {
  Problem p = good();
  p.q_heads = 6;
  p.kv_heads = 4;
  try {
    make_plan(p, Threads(1));
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "Problem.q_heads: expected a multiple of kv_heads (4), got 6");
  }
}

TEST(BadInput, MasksAndThreads) {
  EXPECT_TRUE(rejects("Mask::sliding_window tokens", kArgument, [] { Mask::sliding_window(0); }));
  EXPECT_TRUE(rejects("Mask::window before", kArgument, [] { Mask::window(-1, 0); }));
  EXPECT_TRUE(rejects("Mask::window after", kArgument, [] { Mask::window(0, -1); }));
  EXPECT_TRUE(rejects("Threads.count", kArgument, [] { Threads(-1); }));
  EXPECT_TRUE(rejects("Threads.count", kArgument, [] { Threads(1025); }));
}

/// Tensors that fit `good()`.
struct Good {
  Tensor q{{2, 5, 4, 8}}, k{{2, 9, 2, 8}}, v{{2, 9, 2, 6}};
  Outputs out{good()};
  Scratch scratch;

  Inputs inputs() const { return {q.view, k.view, v.view}; }
};

TEST(BadInput, ViewsOfRun) {
  Good g;
  const Plan plan = make_plan(good(), Threads(1));
  ASSERT_NO_THROW(run(plan, g.inputs(), g.scratch, g.out.result()));
  for (int axis = 0; axis < 4; ++axis)
    for (const int delta : {-1, 1}) {
      const auto change = [&](auto& view) { view.extents[axis] += delta; };
      Inputs in = g.inputs();
      change(in.q);
      EXPECT_TRUE(rejects("Inputs.q", kShape, [&] { run(plan, in, g.scratch, g.out.result()); }))
          << axis;
      in = g.inputs();
      change(in.k);
      EXPECT_TRUE(rejects("Inputs.k", kShape, [&] { run(plan, in, g.scratch, g.out.result()); }))
          << axis;
      in = g.inputs();
      change(in.v);
      EXPECT_TRUE(rejects("Inputs.v", kShape, [&] { run(plan, in, g.scratch, g.out.result()); }))
          << axis;
      Result out = g.out.result();
      change(out.o);
      EXPECT_TRUE(rejects("Result.o", kShape, [&] { run(plan, g.inputs(), g.scratch, out); }))
          << axis;
      out = g.out.result();
      change(out.lse);
      EXPECT_TRUE(rejects("Result.lse", kShape, [&] { run(plan, g.inputs(), g.scratch, out); }))
          << axis;
      out = g.out.result();
      change(out.m);
      EXPECT_TRUE(rejects("Result.m", kShape, [&] { run(plan, g.inputs(), g.scratch, out); }))
          << axis;
      out = g.out.result();
      change(out.l);
      EXPECT_TRUE(rejects("Result.l", kShape, [&] { run(plan, g.inputs(), g.scratch, out); }))
          << axis;
    }
}

TEST(BadInput, MissingTensors) {
  Good g;
  const Plan plan = make_plan(good(), Threads(1));
  Inputs in = g.inputs();
  in.k.data = nullptr;
  EXPECT_TRUE(rejects("Inputs.k", kArgument, [&] { run(plan, in, g.scratch, g.out.result()); }));
  Result out = g.out.result();
  out.o.data = nullptr;
  EXPECT_TRUE(rejects("Result.o", kArgument, [&] { run(plan, g.inputs(), g.scratch, out); }));
  out = g.out.result();
  out.lse.data = out.m.data = out.l.data = nullptr;  // these are optional
  EXPECT_NO_THROW(run(plan, g.inputs(), g.scratch, out));
}

TEST(BadInput, TypesOfRun) {
  Good g;
  Problem half = good();
  half.storage = Storage::all(DType::kBF16);
  const Plan plan = make_plan(half, Threads(1));
  const Stored q(g.q.view, DType::kBF16), k(g.inputs().k, DType::kBF16),
      v(g.inputs().v, DType::kBF16), o(g.out.o.view, DType::kBF16);
  const auto run_with = [&](const AnyConstTensor& q_, const AnyConstTensor& k_,
                            const AnyConstTensor& v_, const AnyTensor& o_) {
    Result out = g.out.result();
    out.o = o_;
    return error_of([&] { run(plan, {.q = q_, .k = k_, .v = v_}, g.scratch, out); });
  };
  EXPECT_EQ(run_with(q.view, k.view, v.view, o.view), "no error");
  EXPECT_EQ(run_with(g.q.view, k.view, v.view, o.view), "Inputs.q type: expected bf16, got f32");
  EXPECT_EQ(run_with(q.view, g.inputs().k, v.view, o.view),
            "Inputs.k type: expected bf16, got f32");
  EXPECT_EQ(run_with(q.view, k.view, Stored(v.view, DType::kF16).view, o.view),
            "Inputs.v type: expected bf16, got f16");
  EXPECT_EQ(run_with(q.view, k.view, v.view, g.out.o.view),
            "Result.o type: expected bf16, got f32");

  half.storage.v = DType::kF16;
  EXPECT_EQ(error_of([&] { make_plan(half, Threads(1), KvSource::kCache); }),
            "Problem.storage.v: expected bf16, the type of k: a cache has one, got f16");
}

TEST(BadInput, CachesOfRun) {
  Good g;
  const Plan plan = make_plan(good(), Threads(1), KvSource::kCache);
  const auto run_with = [&](const DenseKvCache::Shape& shape, std::int64_t length) {
    DenseKvCache cache(shape);
    if (length > 0)
      for (std::int64_t b = 0; b < shape.batch; ++b)
        cache.append(b, Tensor({1, length, shape.kv_heads, shape.head_dim}).view,
                     Tensor({1, length, shape.kv_heads, shape.v_head_dim}).view);
    run(plan, {.q = g.q.view, .k = {}, .v = {}, .cache = &cache}, g.scratch, g.out.result());
  };
  EXPECT_NO_THROW(run_with({2, 2, 8, 6, 9}, 9));
  EXPECT_EQ(error_of([&] {
              run_with({2, 2, 8, 6, 9, DType::kF16}, 9);
            }),
            "Inputs.cache type: expected f32, got f16");
  Problem padded = good();
  padded.kv_ranges = {{0, 9}, {2, 9}};
  EXPECT_TRUE(rejects("Problem.kv_ranges", kArgument,
                      [&] { make_plan(padded, Threads(1), KvSource::kCache); }));
  const DenseKvCache::Shape bad[] = {{2, 1, 8, 6, 9}, {2, 2, 7, 6, 9}, {2, 2, 8, 5, 9}};
  for (const auto& shape : bad)
    EXPECT_TRUE(rejects("Inputs.cache [1, kv_heads, head_dim, v_head_dim]", kShape,
                        [&] { run_with(shape, 9); }));
  EXPECT_TRUE(rejects("Inputs.cache type", kArgument, [&] {
    run_with({2, 2, 8, 6, 9, DType::kF16}, 9);
  }));
  EXPECT_TRUE(rejects("Inputs.cache sequence 1", kShape, [&] { run_with({1, 2, 8, 6, 9}, 9); }));
  EXPECT_TRUE(rejects("Inputs.cache sequence 0", kShape, [&] { run_with({2, 2, 8, 6, 9}, 8); }));
  EXPECT_TRUE(rejects("Inputs.cache", kArgument,
                      [&] { run(plan, g.inputs(), g.scratch, g.out.result()); }));
}

TEST(BadInput, CacheItself) {
  EXPECT_TRUE(rejects("DenseKvCache.batch", kArgument, [] { DenseKvCache({-1, 1, 8, 8, 4}); }));
  EXPECT_TRUE(rejects("DenseKvCache.kv_heads", kArgument, [] { DenseKvCache({1, 0, 8, 8, 4}); }));
  EXPECT_TRUE(rejects("DenseKvCache.head_dim", kArgument, [] { DenseKvCache({1, 1, 0, 8, 4}); }));
  EXPECT_TRUE(rejects("DenseKvCache.v_head_dim", kArgument, [] {
    DenseKvCache({1, 1, 8, -1, 4});
  }));
  EXPECT_TRUE(rejects("DenseKvCache.capacity", kArgument, [] { DenseKvCache({1, 1, 8, 8, -4}); }));
  for (const DenseKvCache::Shape& huge :
       {DenseKvCache::Shape{0, kHuge, kHuge, kHuge, kHuge}, DenseKvCache::Shape{kHuge, 1, 1, 1, 0}})
    EXPECT_TRUE(rejects("DenseKvCache", ErrorCode::kOutOfMemory, [&] { DenseKvCache{huge}; }));

  DenseKvCache cache({2, 1, 8, 6, 4});
  const Tensor k({2, 3, 1, 8}), v({2, 3, 1, 6});
  cache.append(k.view, v.view);
  EXPECT_TRUE(rejects("DenseKvCache.append", kArgument, [&] { cache.append(k.view, v.view); }));
  EXPECT_EQ(cache.length(0), 3);
  EXPECT_EQ(cache.length(1), 3);
  EXPECT_TRUE(rejects("DenseKvCache.append k", kShape, [&] { cache.append(v.view, v.view); }));
  EXPECT_TRUE(rejects("DenseKvCache.append v", kShape, [&] { cache.append(k.view, k.view); }));
  ConstTensor negative_k = k.view, negative_v = v.view;
  negative_k.extents[1] = negative_v.extents[1] = -1;
  EXPECT_TRUE(
      rejects("DenseKvCache.append k", kShape, [&] { cache.append(negative_k, negative_v); }));
  EXPECT_TRUE(rejects("DenseKvCache.append sequence", kArgument,
                      [&] { cache.append(2, sequence(k.view, 0), sequence(v.view, 0)); }));
  EXPECT_TRUE(rejects("DenseKvCache.truncate length", kArgument, [&] { cache.truncate(0, 4); }));
  EXPECT_TRUE(rejects("DenseKvCache.truncate length", kArgument, [&] { cache.truncate(0, -1); }));
  EXPECT_TRUE(rejects("DenseKvCache.truncate sequence", kArgument, [&] { cache.truncate(-1, 0); }));
}

TEST(BadInput, PartialRunsAndMerges) {
  Good g;
  const Plan plan = make_plan(good(), Threads(1));
  const auto part = [&](std::int64_t a, std::int64_t b) {
    return run_partial(plan, g.inputs(), g.scratch, {a, b});
  };
  EXPECT_TRUE(rejects("run_partial chunks", kArgument, [&] { part(-1, 1); }));
  EXPECT_TRUE(rejects("run_partial chunks", kArgument, [&] { part(2, 1); }));
  EXPECT_TRUE(rejects("merge b.chunks.begin", kArgument, [&] { merge(part(0, 1), part(2, 3)); }));
  EXPECT_TRUE(rejects("merge b.chunks.begin", kArgument, [&] { merge(part(1, 2), part(0, 1)); }));
  State other = part(1, 2);
  other.o_extents[1] += 1;
  EXPECT_TRUE(rejects("merge b", kShape, [&] { merge(part(0, 1), other); }));
  State broken = part(0, 3);
  broken.nodes[0].level = -1;
  EXPECT_TRUE(rejects("finish state", kShape, [&] { finish(broken, g.out.result()); }));
  broken = part(0, 3);
  std::swap(broken.nodes[0], broken.nodes[1]);
  EXPECT_TRUE(rejects("finish state", kShape, [&] { finish(broken, g.out.result()); }));
  Outputs wrong(good());
  wrong.o.view.extents[3] = 5;
  EXPECT_TRUE(rejects("Result.o", kShape, [&] { finish(part(0, 1), wrong.result()); }));
  Good h;
  h.out.lse.view.extents[2] = 3;
  EXPECT_TRUE(rejects("Result.lse", kShape,
                      [&] { merge_finished(g.out.result(), h.out.result(), g.out.result()); }));
}

TEST(BadInput, AttentionRows) {
  Good g;
  const Plan plan = make_plan(good(), Threads(1));
  const Tensor out({2, 4, 1, 9}), wrong({2, 4, 1, 8});
  const auto rows = [&](std::int64_t i, const Tensor& to) {
    attention_rows(plan, g.inputs(), g.scratch, {i}, to.view);
  };
  EXPECT_NO_THROW(rows(4, out));
  EXPECT_TRUE(rejects("attention_rows rows", kArgument, [&] { rows(5, out); }));
  EXPECT_TRUE(rejects("attention_rows rows", kArgument, [&] { rows(-1, out); }));
  EXPECT_TRUE(rejects("attention_rows out", kShape, [&] { rows(0, wrong); }));
}

TEST(BadInput, ForcedInstructionSet) {
  setenv("RAPT_FORCE_ISA", "mmx", 1);
  EXPECT_TRUE(
      rejects("RAPT_FORCE_ISA", ErrorCode::kUnsupported, [] { make_plan(good(), Threads(1)); }));
  unsetenv("RAPT_FORCE_ISA");
}

}  // namespace
}  // namespace rapt::test
