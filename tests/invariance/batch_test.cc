// A ragged batch over pages: every entry has the bits that it has alone, from plain tensors.
#include "rapt/batch.h"

#include <gtest/gtest.h>

#include "rapt/layer.h"
#include "rejects.h"
#include "util.h"

namespace rapt::test {
namespace {

constexpr std::int64_t kQueryHeads = 4, kHeads = 2, kDim = 8, kValueDim = 12;

std::vector<std::int64_t> every_third(std::int64_t tokens, std::int64_t first) {
  std::vector<std::int64_t> positions;
  for (std::int64_t n = 0; n < tokens; ++n) positions.push_back(first + 3 * n);
  return positions;
}

/// Tokens alone and together, masks of all kinds of grain, positions of their own, no keys, no
/// queries; lengths around pages and chunks.
std::vector<BatchEntry> ragged() {
  const Mask causal = Mask::causal(), window = Mask::sliding_window(40);
  std::vector<BatchEntry> entries = {
      {0, 1, 700, causal},
      {0, 1, 33, causal},
      {0, 1, 1, causal},
      {0, 1, 1500, window},
      {0, 1, 16, window},
      {0, 40, 40, causal},
      {0, 40, 530, causal},
      {0, 7, 513, window},
      {0, 0, 64, window},
      {0, 5, 0, causal},
      {0, 90, 90, causal},
      {0, 1, 512, causal},
      {0, 1, 65, causal},
      {0, 3, 100, window},
      {0, 3, 110, window},
      {0, 20, 64, Mask::none()},
      {0, 9, 80, Mask::documents({std::vector<std::int64_t>(80, 1)}) & causal}};
  entries[13].q_positions = every_third(3, 250);
  entries[13].kv_positions = every_third(100, 0);
  for (std::size_t n = 0; n < entries.size(); ++n)
    entries[n].sequence = static_cast<std::int64_t>(n);
  return entries;
}

Problem shared_problem() {
  Problem p;
  p.q_heads = kQueryHeads;
  p.kv_heads = kHeads;
  p.head_dim = kDim;
  p.v_head_dim = kValueDim;
  p.modifiers.alibi_slopes = {0.1f, 0.2f, 0.3f, 0.4f};
  p.modifiers.sinks = {-1, 0, 1, 2};
  return p;
}

/// Random numbers that bf16 holds.
Tensor coarse(const Dims& extents, std::uint64_t seed) {
  Tensor x = normal(extents, seed);
  for (float& element : x.memory) element = to_float(to_bf16(element));
  return x;
}

/// Keys and values of the entries, and a cache that holds them: sequence n is entry n.
struct CachedKeys {
  std::vector<Tensor> k, v;
  PagedKvCache cache;

  CachedKeys(const std::vector<BatchEntry>& entries, std::int64_t page_size, DType dtype)
      : cache({2, kHeads, kDim, kValueDim, page_size, 400, dtype}) {
    for (const BatchEntry& entry : entries) {
      const auto seed = static_cast<std::uint64_t>(100 + 2 * entry.sequence);
      k.push_back(coarse({1, entry.kv_tokens, kHeads, kDim}, seed));
      v.push_back(coarse({1, entry.kv_tokens, kHeads, kValueDim}, seed + 1));
      EXPECT_EQ(cache.create(), entry.sequence);
    }
    const std::int64_t piece = 50;  // pages of the sequences are mixed
    for (std::int64_t first = 0; first < 1500; first += piece)
      for (const BatchEntry& entry : entries) {
        const std::int64_t count = std::min(piece, entry.kv_tokens - first);
        if (count <= 0) continue;
        const auto n = static_cast<std::size_t>(entry.sequence);
        cache.extend(entry.sequence, count);
        cache.store(1, entry.sequence, first, tokens(k[n].view, first, count),
                    tokens(v[n].view, first, count));
      }
  }
};

Problem alone(const BatchEntry& entry) {
  Problem p = shared_problem();
  p.q_tokens = entry.q_tokens;
  p.kv_tokens = entry.kv_tokens;
  p.mask = entry.mask;
  p.q_positions = entry.q_positions;
  p.kv_positions = entry.kv_positions;
  return p;
}

TEST(BatchInvariance, EveryEntryHasTheBitsThatItHasAlone) {
  const std::vector<BatchEntry> entries = ragged();
  for (const DType dtype : {DType::kF32, DType::kBF16})
    for (const std::int64_t page_size : {16, 48, 512, 1536}) {
      const CachedKeys cached(entries, page_size, dtype);
      const BatchPlan plan =
          make_batch_plan(shared_problem(), Threads(2), cached.cache.layer(1), entries);
      EXPECT_LT(plan.parts().size(), entries.size()) << "nothing is computed together";
      Problem all = shared_problem();
      all.q_tokens = plan.q_tokens();
      const Tensor q = normal({1, all.q_tokens, kQueryHeads, kDim}, 7);
      Outputs out(all);
      Scratch scratch;
      run(plan, q.view, cached.cache.layer(1), scratch, out.result());
      std::int64_t first = 0;
      for (const BatchEntry& entry : entries) {
        SCOPED_TRACE("entry " + std::to_string(entry.sequence) + ", pages of " +
                     std::to_string(page_size) + ", " + name(dtype));
        const auto n = static_cast<std::size_t>(entry.sequence);
        const Outputs expected = run_attention(alone(entry), tokens(q.view, first, entry.q_tokens),
                                               cached.k[n].view, cached.v[n].view);
        const auto rows = [&](const Tensor& t) {
          return ConstTensor(t.view.data + first, {1, 1, kQueryHeads, entry.q_tokens},
                             t.view.strides);
        };
        EXPECT_TRUE(same_bits(tokens(out.o.view, first, entry.q_tokens), expected.o.view));
        EXPECT_TRUE(same_bits(rows(out.lse), expected.lse.view));
        EXPECT_TRUE(same_bits(rows(out.m), expected.m.view));
        EXPECT_TRUE(same_bits(rows(out.l), expected.l.view));
        first += entry.q_tokens;
      }
      EXPECT_EQ(first, plan.q_tokens());
    }
}

TEST(BatchPlan, RefusesWhatDoesNotFit) {
  PagedKvCache cache({1, kHeads, kDim, kValueDim, 16, 8});
  cache.extend(cache.create(), 20);
  const Tensor q = normal({1, 2, kQueryHeads, kDim}, 1);
  Scratch scratch;
  const auto error = [&](const Problem& p, const BatchEntry& entry, const ConstTensor& queries) {
    Outputs out(alone(entry));
    return error_of([&] {
      run(make_batch_plan(p, Threads(1), cache.layer(0), {&entry, 1}), queries, cache.layer(0),
          scratch, out.result());
    });
  };
  const Problem p = shared_problem();
  EXPECT_EQ(error(p, {0, 2, 20}, q.view), "no error");
  EXPECT_EQ(error(p, {0, 2, 21}, q.view),
            "Inputs.cache sequence 0: expected at least 21 tokens, got 20");
  EXPECT_EQ(error(p, {3, 2, 20}, q.view),
            "Inputs.cache sequence 3: expected a sequence of the cache, got none");
  EXPECT_EQ(error(p, {0, 3, 20}, q.view), "BatchPlan q: expected [1, 3, 4, 8], got [1, 2, 4, 8]");
  Problem biased = p;
  biased.modifiers.additive_bias = true;
  EXPECT_EQ(error(biased, {0, 2, 20}, q.view),
            "make_batch_plan.modifiers.additive_bias: expected none, got one");
}

// --- The multi-head layer ------------------------------------------------------------------------

using Layer = MultiHeadAttention;

Layer grouped_layer(Arithmetic arithmetic) {
  Layer::Config config;
  config.model_dim = 24;
  config.q_heads = 4;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.v_head_dim = 5;
  config.mask = Mask::causal();
  config.rotary = Rotary({.dims = 8, .scaling = DynamicNtkScaling{4, 16}});
  config.arithmetic = arithmetic;
  const Tensor q = normal({1, 1, 32, 24}, 1, 0.2f), k = normal({1, 1, 16, 24}, 2, 0.2f),
               v = normal({1, 1, 10, 24}, 3, 0.2f), o = normal({1, 1, 24, 20}, 4, 0.2f),
               bias = normal({1, 1, 1, 16}, 5);
  Layer::Weights weights;
  weights.q = q.view;
  weights.k = k.view;
  weights.k_bias = bias.view;
  weights.v = v.view;
  weights.o = o.view;
  return Layer(config, weights);
}

/// y of all tokens of a sequence alone, through a dense cache, whose capacity the rotation is for.
Tensor alone(const Layer& layer, const ConstTensor& x, std::int64_t capacity, DType dtype) {
  DenseKvCache cache = layer.make_cache(1, capacity, dtype);
  Layer::Workspace workspace;
  Layer::Inputs in;
  in.x = x;
  in.cache = &cache;
  layer.append(Threads(1), x, cache, workspace);
  Tensor y(x.extents);
  Layer::Outputs out;
  out.y = y.view;
  layer(Threads(1), in, workspace, out);
  return y;
}

// Three sequences in steps that take other numbers of their tokens.
TEST(BatchInvariance, ALayersBatchHasTheBitsOfItsSequencesAlone) {
  constexpr std::int64_t kTokens = 60, kCapacity = 70;
  const std::vector<std::vector<std::int64_t>> steps = {
      {20, 1, 0}, {1, 1, 30}, {1, 1, 1}, {38, 57, 1}, {0, 0, 28}};
  const std::pair<Arithmetic, DType> kinds[] = {{Arithmetic::kF32, DType::kF32},
                                                {Arithmetic::kF32, DType::kF16},
                                                {Arithmetic::kNativeBF16, DType::kBF16}};
  for (const auto& [arithmetic, dtype] : kinds) {
    const Layer layer = grouped_layer(arithmetic);
    const Tensor x = normal({1, 3, kTokens, 24}, 9);
    PagedKvCache cache({2, 2, 8, 5, 16, 40, dtype});
    Layer::Workspace workspace;
    std::vector<std::int64_t> taken(3);
    std::vector<Tensor> expected;
    for (std::int64_t b = 0; b < 3; ++b) {
      expected.push_back(alone(layer, tokens(ConstTensor(x.view), b, 1), kCapacity, dtype));
      cache.create();
    }
    for (const auto& step : steps) {
      const std::int64_t count = step[0] + step[1] + step[2];
      Tensor part({1, 1, count, 24}), y({1, 1, count, 24});
      std::vector<Layer::BatchSequence> sequences;
      const auto rows = [&](const Tensor& of, std::int64_t b, std::int64_t first, std::int64_t n) {
        return MutableTensor(&of.view.at(0, b, first, 0), {1, 1, n, 24});
      };
      std::int64_t first = 0;
      for (std::int64_t b = 0; b < 3; ++b) {
        const std::int64_t n = step[static_cast<std::size_t>(b)];
        copy(rows(x, b, taken[static_cast<std::size_t>(b)], n), rows(part, 0, first, n));
        cache.extend(b, n);
        sequences.push_back({b, n});
        first += n;
      }
      const Layer::BatchInputs in{part.view, sequences, cache, 1, kCapacity};
      Layer::Outputs out;
      out.y = y.view;
      layer(Threads(2), layer.plan(Threads(2), in), in, workspace, out);
      first = 0;
      for (std::int64_t b = 0; b < 3; ++b) {
        const auto n = static_cast<std::size_t>(b);
        EXPECT_TRUE(same_bits(rows(y, 0, first, step[n]), rows(expected[n], 0, taken[n], step[n])))
            << "sequence " << b << " from token " << taken[n] << ", " << name(arithmetic);
        taken[n] += step[n];
        first += step[n];
      }
    }
    EXPECT_EQ(taken, (std::vector<std::int64_t>(3, kTokens)));
  }
}

// Forks of a sequence, whose first chunk a layer's batch attends to once.
TEST(BatchInvariance, ALayersBatchSharesAPrefix) {
  constexpr std::int64_t kShared = kChunk + 30, kCapacity = kShared + 20;
  const Layer layer = grouped_layer(Arithmetic::kF32);
  const Tensor x = normal({1, 2, kShared + 3, 24}, 9);
  PagedKvCache cache({1, 2, 8, 5, 16, 100});
  Layer::Workspace workspace;
  std::vector<Layer::BatchSequence> sequences = {{cache.create(), kShared}};
  Tensor y({1, 1, kShared, 24});
  Layer::Outputs out;
  const auto run_batch = [&](const ConstTensor& tokens) {
    out.y = MutableTensor(y.view.data, tokens.extents);
    const Layer::BatchInputs in{tokens, sequences, cache, 0, kCapacity};
    const BatchPlan plan = layer.plan(Threads(2), in);
    layer(Threads(2), plan, in, workspace, out);
    return plan.prefixes().size();
  };
  const auto rows = [&](std::int64_t b, std::int64_t first, std::int64_t count) {
    return MutableTensor(&x.view.at(0, b, first, 0), {1, 1, count, 24});
  };
  cache.extend(0, kShared);
  EXPECT_EQ(run_batch(rows(0, 0, kShared)), 0u);
  copy(rows(0, 0, kShared), rows(1, 0, kShared));
  sequences = {{0, 1}, {cache.fork(0, kShared), 1}};
  for (std::int64_t t = kShared; t < kShared + 3; ++t) {
    Tensor step({1, 1, 2, 24});
    for (std::int64_t b = 0; b < 2; ++b) {
      cache.extend(b, 1);
      copy(rows(b, t, 1), MutableTensor(&step.view.at(0, 0, b, 0), {1, 1, 1, 24}));
    }
    EXPECT_EQ(run_batch(step.view), 1u);
    for (std::int64_t b = 0; b < 2; ++b) {
      const Tensor whole = alone(layer, rows(b, 0, t + 1), kCapacity, DType::kF32);
      EXPECT_TRUE(same_bits(ConstTensor(&y.view.data[b * 24], {1, 1, 1, 24}),
                            ConstTensor(&whole.view.at(0, 0, t, 0), {1, 1, 1, 24})));
    }
  }
}

TEST(BadInput, LayerOnABatch) {
  Layer::Config config;
  config.model_dim = 8;
  config.q_heads = 2;
  const Tensor weight = normal({1, 1, 8, 8}, 1);
  const Layer layer(config, {weight.view, {}, weight.view, {}, weight.view, {}, weight.view, {}});
  PagedKvCache cache({1, 2, 4, 4, 16, 4});
  const std::int64_t sequence = cache.create();
  cache.extend(sequence, 3);
  Tensor x = normal({1, 1, 3, 8}, 2), y({1, 1, 3, 8});
  Layer::Workspace workspace;
  Layer::Outputs out;
  out.y = y.view;
  const auto run_with = [&](std::vector<Layer::BatchSequence> planned,
                            std::vector<Layer::BatchSequence> run) {
    const BatchPlan plan = layer.plan(Threads(1), {x.view, planned, cache, 0, 64});
    layer(Threads(1), plan, {x.view, run, cache, 0, 64}, workspace, out);
  };
  const Layer::BatchSequence good{sequence, 3};
  EXPECT_NO_THROW(run_with({good}, {good}));
  for (const Layer::BatchSequence bad :
       {Layer::BatchSequence{sequence, 4}, {sequence, -1}, {sequence + 1, 3}, {sequence + 1, 0}}) {
    EXPECT_TRUE(
        rejects("MultiHeadAttention.sequences", kArgument, [&] { run_with({bad}, {bad}); }));
    EXPECT_TRUE(
        rejects("MultiHeadAttention.sequences", kArgument, [&] { run_with({good}, {bad}); }));
  }
  EXPECT_TRUE(rejects("MultiHeadAttention.sequences", kArgument, [&] {
    run_with({good}, {{sequence, 2}});
  }));
}

}  // namespace
}  // namespace rapt::test
