// The multi-head layer: near a plain f64 layer, and the same bits for every way to run it. A bias
// left out, heads in another order, keys rotated to the wrong slots or a memory read for x must
// fail here.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "plain_layer.h"
#include "util.h"

namespace rapt {
namespace {

using test::error_of;
using test::Layout;
using test::normal;
using test::same_bits;
using test::Tensor;
using Config = MultiHeadAttention::Config;
using Inputs = MultiHeadAttention::Inputs;
using Workspace = MultiHeadAttention::Workspace;

/// Of queries and keys.
enum class Norms { kNone, kOfEachHead, kOfAllHeads };

/// A configuration with random weights, about 1 / sqrt(inputs) large so that y is about 1.
struct Layer {
  Config config;
  ReferenceMask mask;
  Tensor q, k, v, o, q_bias, k_bias, v_bias, o_bias, q_norm, k_norm;
  bool bias;
  Norms norms;

  Layer(const Config& c, const ReferenceMask& mask, bool bias, Layout layout = Layout::kContiguous,
        Norms norms = Norms::kNone)
      : config(c), mask(mask), bias(bias), norms(norms) {
    const std::int64_t d = c.head_dim, dv = c.v_head_dim,
                       dc = c.memory_dim ? c.memory_dim : c.model_dim;
    q = weight(c.q_heads * d, c.model_dim, 1, layout);
    k = weight(c.kv_heads * d, dc, 2, layout);
    v = weight(c.kv_heads * dv, dc, 3, layout);
    o = weight(c.model_dim, c.q_heads * dv, 4, layout);
    q_bias = normal({1, 1, 1, c.q_heads * d}, 5, 0.3f);
    k_bias = normal({1, 1, 1, c.kv_heads * d}, 6, 0.3f);
    v_bias = normal({1, 1, 1, c.kv_heads * dv}, 7, 0.3f);
    o_bias = normal({1, 1, 1, c.model_dim}, 8, 0.3f);
    if (norms == Norms::kNone) return;
    const bool whole = norms == Norms::kOfAllHeads;
    q_norm = normal({1, 1, 1, (whole ? c.q_heads : 1) * d}, 9);
    k_norm = normal({1, 1, 1, (whole ? c.kv_heads : 1) * d}, 10);
  }

  static Tensor weight(std::int64_t outputs, std::int64_t inputs, int seed, Layout layout) {
    return normal({1, 1, outputs, inputs}, seed, 1 / std::sqrt(static_cast<float>(inputs)), layout);
  }

  MultiHeadAttention::Weights weights() const {
    const auto of = [&](const Tensor& t) { return bias ? ConstTensor(t.view) : ConstTensor(); };
    return {q.view,     of(q_bias), k.view,     of(k_bias),  v.view,
            of(v_bias), o.view,     of(o_bias), q_norm.view, k_norm.view};
  }
  MultiHeadAttention make() const { return MultiHeadAttention(config, weights()); }
};

Config config(std::int64_t q_heads, std::int64_t kv_heads, std::int64_t d, std::int64_t dv,
              const Mask& mask) {
  Config c;
  c.model_dim = 24;
  c.q_heads = q_heads;
  c.kv_heads = kv_heads;
  c.head_dim = d;
  c.v_head_dim = dv;
  c.mask = mask;
  return c;
}

/// Multi-head, grouped-query with rotary positions and with those scaled for the sequence's length,
/// multi-query with some of the features rotated in pairs, norms of queries and keys of both kinds,
/// softcap and ALiBi, and last cross-attention over a memory of another width.
std::vector<Layer> layers() {
  std::vector<Layer> all;
  all.emplace_back(config(4, 4, 6, 6, Mask::none()), ReferenceMask{}, true);
  Config grouped = config(4, 2, 8, 5, Mask::causal());
  grouped.rotary = Rotary(8);
  all.emplace_back(grouped, reference_causal(), false);
  grouped.rotary = Rotary({.dims = 8, .scaling = DynamicNtkScaling{4, 16}});
  all.emplace_back(grouped, reference_causal(), false);
  Config one = config(3, 1, 10, 10, Mask::sliding_window(7));
  one.rotary = Rotary(6, 500.0, RotaryStyle::kInterleaved);
  one.scale = 0.5f;
  all.emplace_back(one, reference_window(6, 0), true);
  grouped.rotary = Rotary(8);
  grouped.norm_eps = 0.1f;
  for (const Norms norms : {Norms::kOfEachHead, Norms::kOfAllHeads})
    all.emplace_back(grouped, reference_causal(), true, Layout::kContiguous, norms);
  Config scored = config(4, 2, 6, 6, Mask::causal());
  scored.modifiers.softcap = 1.5f;
  scored.modifiers.alibi_slopes = alibi_slopes(4);
  all.emplace_back(scored, reference_causal(), false);
  Config cross = config(4, 2, 6, 9, Mask::none());
  cross.memory_dim = 31;
  all.emplace_back(cross, ReferenceMask{}, true);
  return all;
}

/// Everything that one call writes.
struct Outputs {
  Tensor y, heads, contributions, lse;

  Outputs(const Config& c, std::int64_t batch, std::int64_t tokens,
          Layout layout = Layout::kContiguous)
      : y({1, batch, tokens, c.model_dim}, layout),
        heads({batch, tokens, c.q_heads, c.v_head_dim}, layout),
        contributions({batch, tokens, c.q_heads, c.model_dim}, layout),
        lse({1, batch, c.q_heads, tokens}, layout) {
    for (const Tensor* t : {&y, &heads, &contributions, &lse}) test::fill(t->view, -12345.0f);
  }
};

Outputs run(const MultiHeadAttention& layer, const Inputs& in, int threads = 1,
            Layout layout = Layout::kContiguous) {
  Outputs out(layer.config(), in.x.extents[1], in.x.extents[2], layout);
  Workspace workspace;
  layer(Threads(threads), in, workspace,
        {out.y.view, out.heads.view, out.contributions.view, out.lse.view});
  return out;
}

testing::AssertionResult same_bits(const Outputs& a, const Outputs& b) {
  if (auto same = test::same_bits(a.y.view, b.y.view); !same) return same << " in y";
  if (auto same = test::same_bits(a.heads.view, b.heads.view); !same) return same << " in heads";
  if (auto same = test::same_bits(a.lse.view, b.lse.view); !same) return same << " in lse";
  return test::same_bits(a.contributions.view, b.contributions.view);
}

/// Tokens [begin, begin + count) of [1, B, T, d].
template <class T>
TensorView<T> tokens(const TensorView<T>& x, std::int64_t begin, std::int64_t count) {
  return {x.data + begin * x.strides[2], {1, x.extents[1], count, x.extents[3]}, x.strides};
}

// --- Against a plain layer -----------------------------------------------------------------------

/// Sequence b of the layer in plain loops.
template <class Real>
test::Matrix<Real> plain(const Layer& layer, const ConstTensor& x, const ConstTensor& memory,
                         std::int64_t b) {
  return test::plain_layer(layer.config, layer.weights(), layer.mask, test::rows_of<Real>(x, b),
                           test::rows_of<Real>(memory, b));
}

TEST(MultiHead, IsWithinTwiceThePlainLayersError) {
  for (const Layer& layer : layers()) {
    const bool cross = layer.config.memory_dim != 0;
    const Tensor x = normal({1, 2, 20, 24}, 11), memory = normal({1, 2, 33, 31}, 12);
    Inputs in;
    in.x = x.view;
    if (cross) in.memory = memory.view;
    const Outputs out = run(layer.make(), in);
    double e = 0, largest = 0, error = 0;
    for (std::int64_t b = 0; b < 2; ++b) {
      const ConstTensor c = cross ? memory.view : x.view;
      const auto exact = plain<double>(layer, x.view, c, b);
      const auto loop = plain<float>(layer, x.view, c, b);
      for (std::int64_t t = 0; t < 20; ++t)
        for (std::int64_t n = 0; n < 24; ++n) {
          e = std::max(e, std::abs(loop[t][n] - exact[t][n]));
          error = std::max(error, std::abs(out.y.view.at(0, b, t, n) - exact[t][n]));
          largest = std::max(largest, std::abs(exact[t][n]));
        }
    }
    EXPECT_LE(error, 2 * e + 0x1p-23 * largest) << layer.config.q_heads << " heads";
    EXPECT_GT(largest, 0.5);
  }
}

// --- The same bits -------------------------------------------------------------------------------

/// x [1, 3, 37, d], and a memory [1, 3, 29, dc] where the layer has one.
struct Call {
  Tensor x, memory;
  Inputs in;

  explicit Call(const Config& c, Layout layout = Layout::kContiguous)
      : x(normal({1, 3, 37, c.model_dim}, 21, 1.0f, layout)),
        memory(normal({1, 3, 29, c.memory_dim ? c.memory_dim : 1}, 22, 1.0f, layout)) {
    in.x = x.view;
    if (c.memory_dim != 0) in.memory = memory.view;
  }
};

TEST(MultiHead, DoesNotDependOnThreadsLayoutsOrInstructionSets) {
  for (const Layer& layer : layers()) {
    const MultiHeadAttention attention = layer.make();
    const Outputs expected = run(attention, Call(layer.config).in);
    for (const int threads : {2, 3, 8})
      EXPECT_TRUE(same_bits(run(attention, Call(layer.config).in, threads), expected)) << threads;
    for (const Isa isa : supported_isas()) {
      const test::ForcedIsa forced(isa);
      EXPECT_TRUE(same_bits(run(attention, Call(layer.config).in), expected)) << name(isa);
    }
    for (const Layout layout : {Layout::kFeatureMajor, Layout::kReversed, Layout::kUnaligned}) {
      const Call call(layer.config, layout);
      const Layer strided(layer.config, layer.mask, layer.bias, layout, layer.norms);
      EXPECT_TRUE(same_bits(run(strided.make(), call.in, 1, layout), expected)) << name(layout);
    }
  }
}

TEST(MultiHead, OfOneSequenceIsThatOfTheBatch) {
  for (const Layer& layer : layers()) {
    const MultiHeadAttention attention = layer.make();
    const Call call(layer.config);
    const Outputs batch = run(attention, call.in);
    const auto one = [](const ConstTensor& t, std::int64_t b) {
      return t.data == nullptr ? t : test::tokens(t, b, 1);  // the batch is axis 1
    };
    for (std::int64_t b = 0; b < 3; ++b) {
      Inputs in;
      in.x = one(call.in.x, b);
      in.memory = one(call.in.memory, b);
      const Outputs alone = run(attention, in);
      EXPECT_TRUE(same_bits(alone.y.view, one(batch.y.view, b)));
      EXPECT_TRUE(same_bits(alone.lse.view, one(batch.lse.view, b)));
      EXPECT_TRUE(same_bits(alone.heads.view, test::sequence(ConstTensor(batch.heads.view), b)));
    }
  }
}

// Through a cache, in pieces: keys get the slots after those that are there.
TEST(MultiHead, InPiecesThroughACacheIsThatOfTheWhole) {
  for (const Layer& layer : layers()) {
    if (!layer.mask) continue;  // no mask
    const MultiHeadAttention attention = layer.make();
    const Call call(layer.config);
    const Outputs whole = run(attention, call.in);
    for (const std::int64_t piece : {1, 5, 16, 37}) {
      DenseKvCache cache = attention.make_cache(3, 37);
      Workspace workspace;
      for (std::int64_t t = 0; t < 37; t += piece) {
        Inputs in;
        in.x = tokens(call.in.x, t, std::min<std::int64_t>(piece, 37 - t));
        in.cache = &cache;
        attention.append(Threads(2), in.x, cache, workspace);
        const Outputs out = run(attention, in);
        ASSERT_TRUE(same_bits(out.y.view, tokens(ConstTensor(whole.y.view), t, in.x.extents[2])))
            << "pieces of " << piece << ", at " << t;
      }
    }
  }
}

TEST(MultiHead, OverAMemoryIsThatOverItsCache) {
  const Layer layer = std::move(layers().back());
  const MultiHeadAttention attention = layer.make();
  const Call call(layer.config);
  const Outputs expected = run(attention, call.in);
  DenseKvCache cache = attention.make_cache(3, 50);
  Workspace workspace;
  attention.append(Threads(1), tokens(call.in.memory, 0, 11), cache, workspace);
  attention.append(Threads(1), tokens(call.in.memory, 11, 18), cache, workspace);
  Inputs in;
  in.x = call.in.x;
  in.cache = &cache;
  EXPECT_TRUE(same_bits(run(attention, in), expected));
}

// More rows than memories, whose lengths differ.
TEST(MultiHead, BeamsOnOneMemoryHaveTheBitsOfEachAlone) {
  const Layer layer = std::move(layers().back());
  const MultiHeadAttention attention = layer.make();
  const Call call(layer.config);
  DenseKvCache cache = attention.make_cache(2, 50);
  Workspace workspace;
  attention.append(Threads(1), test::tokens(call.in.memory, 1, 2), cache, workspace);
  cache.truncate(1, 17);
  const std::vector<std::int64_t> sequences = {1, 0, 1};
  Inputs in;
  in.x = call.in.x;
  in.cache = &cache;
  in.sequences = sequences;
  const Outputs together = run(attention, in, 2);
  for (std::int64_t b = 0; b < 3; ++b) {
    const std::int64_t of = sequences[static_cast<std::size_t>(b)];
    DenseKvCache own = attention.make_cache(1, 50);
    attention.append(Threads(1),
                     tokens(test::tokens(call.in.memory, 1 + of, 1), 0, cache.length(of)), own,
                     workspace);
    Inputs alone;
    alone.x = test::tokens(call.in.x, b, 1);
    alone.cache = &own;
    EXPECT_TRUE(test::same_bits(test::tokens(ConstTensor(together.y.view), b, 1),
                                run(attention, alone).y.view))
        << "beam " << b;
  }
}

TEST(MultiHead, ACacheInBf16KeepsRoundedKeysAndValues) {
  for (const Layer& layer : layers()) {
    if (layer.config.memory_dim != 0) continue;
    const MultiHeadAttention attention = layer.make();
    const Call call(layer.config);
    const std::int64_t count = call.in.x.extents[2];
    DenseKvCache halves = attention.make_cache(3, count, DType::kBF16),
                 widened = attention.make_cache(3, count);
    Workspace workspace;
    attention.append(Threads(2), call.in.x, halves, workspace);
    const auto& shape = halves.shape();
    for (std::int64_t b = 0; b < 3; ++b) {
      Tensor k({1, count, shape.kv_heads, shape.head_dim}),
          v({1, count, shape.kv_heads, attention.config().v_head_dim});
      halves.read(b, k.view, v.view);
      widened.append(b, k.view, v.view);
    }
    Inputs in;
    in.x = call.in.x;
    in.cache = &halves;
    const Outputs got = run(attention, in);
    in.cache = &widened;
    EXPECT_TRUE(same_bits(got, run(attention, in)));
    EXPECT_EQ(2 * halves.size_bytes(), widened.size_bytes());
  }
}

// In native bf16 attention reads q, k and v rounded: of tensors as of a cache that holds them.
TEST(MultiHead, InNativeBf16TensorsAreTheCache) {
  for (Layer& layer : layers()) {
    layer.config.arithmetic = Arithmetic::kNativeBF16;
    const MultiHeadAttention attention = layer.make();
    const Call call(layer.config);
    const ConstTensor& keys = layer.config.memory_dim == 0 ? call.in.x : call.in.memory;
    DenseKvCache cache = attention.make_cache(3, keys.extents[2], DType::kBF16),
                 floats = attention.make_cache(3, keys.extents[2]);
    Workspace workspace;
    for (DenseKvCache* each : {&cache, &floats})
      attention.append(Threads(2), keys, *each, workspace);
    Inputs in;
    in.x = call.in.x;
    in.cache = &cache;
    const Outputs got = run(attention, in, 2);
    EXPECT_TRUE(same_bits(run(attention, call.in), got));
    layer.config.arithmetic = Arithmetic::kF32;
    EXPECT_FALSE(same_bits(run(layer.make(), call.in), got));
    in.cache = &floats;
    EXPECT_EQ(error_of([&] { run(attention, in); }),
              "Problem.storage.k: expected bf16, as Problem.arithmetic is native bf16, got f32");
  }
}

// Padding, left or right, moves tokens and no bit; what it holds goes nowhere.
TEST(MultiHead, PaddingHoldsAnything) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Layer& layer : layers()) {
    const MultiHeadAttention attention = layer.make();
    const Call call(layer.config);
    const Outputs expected = run(attention, call.in);
    const auto pad = [&](const ConstTensor& t, std::int64_t left) {
      Tensor padded({1, 3, t.extents[2] + 9, t.extents[3]});
      test::fill(padded.view, nan);
      test::copy(t, tokens(padded.view, left, t.extents[2]));
      return padded;
    };
    for (const std::int64_t left : {0, 4, 9}) {
      const Tensor x = pad(call.in.x, left);
      Tensor memory;
      Inputs in;
      in.x = x.view;
      in.x_ranges.assign(3, {left, left + 37});
      if (call.in.memory.data != nullptr) {
        memory = pad(call.in.memory, 9 - left);
        in.memory = memory.view;
        in.memory_ranges.assign(3, {9 - left, 9 - left + 29});
      }
      const Outputs out = run(attention, in);
      EXPECT_TRUE(same_bits(tokens(out.y.view, left, 37), expected.y.view)) << left;
    }
  }
}

TEST(MultiHead, FusedWeightsAreSeparateOnes) {
  for (const Layer& layer : layers()) {
    if (layer.config.memory_dim != 0) continue;
    const auto w = layer.weights();
    const std::int64_t q = w.q.extents[2], k = w.k.extents[2], v = w.v.extents[2];
    Tensor fused({1, 1, q + k + v, 24}), bias({1, 1, 1, q + k + v});
    std::int64_t row = 0;
    for (const auto& [weight, b] : {std::pair{w.q, w.q_bias}, {w.k, w.k_bias}, {w.v, w.v_bias}})
      for (std::int64_t n = 0; n < weight.extents[2]; ++n, ++row) {
        for (std::int64_t e = 0; e < 24; ++e) fused.view.at(0, 0, row, e) = weight.at(0, 0, n, e);
        if (layer.bias) bias.view.at(0, 0, 0, row) = b.at(0, 0, 0, n);
      }
    auto split = MultiHeadAttention::split_fused(
        layer.config, fused.view, layer.bias ? ConstTensor(bias.view) : ConstTensor());
    split.o = w.o;
    split.o_bias = w.o_bias;
    split.q_norm = w.q_norm;
    split.k_norm = w.k_norm;
    const Call call(layer.config);
    EXPECT_TRUE(same_bits(run(MultiHeadAttention(layer.config, split), call.in),
                          run(layer.make(), call.in)));
  }
}

TEST(MultiHead, HeadsMakeTheOutputAndContributionsSumToIt) {
  for (const Layer& layer : layers()) {
    const Call call(layer.config);
    const Outputs out = run(layer.make(), call.in);
    const auto w = layer.weights();
    const std::int64_t features = w.o.extents[3];
    Tensor y(out.y.view.extents);
    Scratch scratch;
    Linear(w.o, w.o_bias)(Threads(1), merge_heads(ConstTensor(out.heads.view)), y.view, scratch);
    EXPECT_TRUE(same_bits(y.view, out.y.view));
    test::for_each_index(out.y.view.extents, [&](auto, auto b, auto t, auto n) {
      double sum = layer.bias ? w.o_bias.at(0, 0, 0, n) : 0, magnitude = std::abs(sum);
      for (std::int64_t h = 0; h < layer.config.q_heads; ++h) {
        sum += out.contributions.view.at(b, t, h, n);
        for (std::int64_t e = 0; e < layer.config.v_head_dim; ++e)
          magnitude += std::abs(out.heads.view.at(b, t, h, e) *
                                w.o.at(0, 0, n, h * layer.config.v_head_dim + e));
      }
      EXPECT_NEAR(sum, out.y.view.at(0, b, t, n), (2 * features + 1) * 0x1p-24 * magnitude);
    });
  }
}

TEST(MultiHead, PlanOfAnotherCallServesAll) {
  const Layer layer = std::move(layers()[1]);
  const MultiHeadAttention attention = layer.make();
  const Call call(layer.config);
  const Outputs expected = run(attention, call.in);
  Outputs out(layer.config, 3, 37);
  Workspace workspace;
  attention(Threads(1), make_plan(attention.problem(call.in), Threads(1)), call.in, workspace,
            {out.y.view, {}, {}, {}});
  EXPECT_TRUE(same_bits(out.y.view, expected.y.view));
}

// --- Views, defaults and bad input ---------------------------------------------------------------

TEST(Heads, SplitAndMergeAreViews) {
  const Tensor x = normal({1, 2, 5, 12}, 31);
  const ConstTensor heads = split_heads(ConstTensor(x.view), 3);
  EXPECT_EQ(heads.extents, (Dims{2, 5, 3, 4}));
  EXPECT_EQ(&heads.at(1, 2, 2, 3), &x.view.at(0, 1, 2, 11));
  const ConstTensor merged = merge_heads(heads);
  EXPECT_EQ(merged.data, x.view.data);
  EXPECT_TRUE(same_bits(merged, x.view));
  EXPECT_EQ(error_of([&] { split_heads(ConstTensor(x.view), 5); }),
            "split_heads.x: expected [1, B, T, a multiple of 5], got [1, 2, 5, 12]");
  const Tensor head_major({2, 5, 3, 4}, Layout::kHeadMajor);
  EXPECT_EQ(error_of([&] { merge_heads(ConstTensor(head_major.view)); }),
            "merge_heads.x: expected heads 4 elements apart, got 20");
}

TEST(MultiHead, DefaultsAreTheUsualOnes) {
  Config c;
  c.model_dim = 24;
  c.q_heads = 4;
  const Tensor w({1, 1, 24, 24});
  const Config got =
      MultiHeadAttention(c, {w.view, {}, w.view, {}, w.view, {}, w.view, {}}).config();
  EXPECT_EQ(got.kv_heads, 4);
  EXPECT_EQ(got.head_dim, 6);
  EXPECT_EQ(got.v_head_dim, 6);
  EXPECT_EQ(got.memory_dim, 24);
}

TEST(MultiHead, NamesWhatIsWrong) {
  const Layer good = std::move(layers()[1]);  // [24] to 4 heads of 8, keys of 2, values of 5
  const auto config_error = [&](const std::function<void(Config&)>& break_it) {
    Config c = good.config;
    break_it(c);
    return error_of([&] { MultiHeadAttention(c, good.weights()); });
  };
  EXPECT_EQ(config_error([](Config& c) { c.model_dim = 0; }),
            "Config.model_dim: expected a positive number, got 0");
  EXPECT_EQ(config_error([](Config& c) { c.q_heads = 3; }),
            "Config.q_heads: expected a multiple of kv_heads (2), got 3");
  EXPECT_EQ(config_error([](Config& c) { c.norm_eps = -1; }),
            "Config.norm_eps: expected a finite number, 0 or more, got -1");
  EXPECT_EQ(config_error([](Config& c) { c.norm_eps = INFINITY; }),
            "Config.norm_eps: expected a finite number, 0 or more, got inf");
  EXPECT_NE(config_error([](Config& c) { c.norm_eps = NAN; }), "");
  EXPECT_EQ(config_error([](Config& c) { c.rotary = Rotary(10); }),
            "Config.rotary: expected at most head_dim (8) dims, got 10");
  EXPECT_EQ(config_error([](Config& c) { c.head_dim = 10; }),
            "Weights.q: expected [1, 1, 40, 24], got [1, 1, 32, 24]");

  const MultiHeadAttention attention = good.make();
  const Call call(good.config);
  const auto call_error = [&](const std::function<void(Inputs&)>& break_it) {
    Inputs in = call.in;
    break_it(in);
    return error_of([&] { run(attention, in); });
  };
  DenseKvCache two = attention.make_cache(2, 4);
  const Tensor wide({1, 3, 37, 25});
  EXPECT_EQ(call_error([&](Inputs& in) { in.x = wide.view; }),
            "MultiHeadAttention.x: expected [1, 3, 37, 24], got [1, 3, 37, 25]");
  EXPECT_EQ(call_error([&](Inputs& in) { in.memory = wide.view; }),
            "MultiHeadAttention.memory: expected [1, 3, 37, 24], got [1, 3, 37, 25]");
  EXPECT_EQ(call_error([&](Inputs& in) { in.cache = &two; }),
            "MultiHeadAttention.cache: expected 3 sequences, got 2");
  const std::int64_t beams[] = {0, 1, 2};
  EXPECT_EQ(call_error([&](Inputs& in) { in.sequences = beams; }),
            "MultiHeadAttention.sequences: expected none without a cache, got 3");
  EXPECT_EQ(call_error([&](Inputs& in) {
              in.cache = &two;
              in.sequences = beams;
            }),
            "MultiHeadAttention.sequences: expected 0 to 1, got 2");
  EXPECT_EQ(call_error([&](Inputs& in) {
              in.cache = &two;
              in.sequences = {beams, 2};
            }),
            "MultiHeadAttention.sequences: expected none, or one for each of 3, got 2");
  Workspace workspace;
  EXPECT_EQ(error_of([&] { attention.append(Threads(1), call.in.x, two, workspace); }),
            "MultiHeadAttention.append: expected [1, 2, 37, 24], got [1, 3, 37, 24]");
  const Tensor fused({1, 1, 57, 24});
  EXPECT_EQ(error_of([&] { MultiHeadAttention::split_fused(good.config, fused.view); }),
            "split_fused.weight: expected [1, 1, 58, 24], got [1, 1, 57, 24]");
}

}  // namespace
}  // namespace rapt
