// What is measured is what is tested: every case of the bench, cut to fewer tokens, has the same
// bits on every instruction set and any number of threads, and they are right.

#include "bench/cases.h"

#include <gtest/gtest.h>

#include "cases.h"
#include "oracle.h"
#include "paged_tokens.h"
#include "plain_linear.h"
#include "rapt/batch.h"
#include "rapt/session.h"
#include "util.h"

namespace rapt::bench {
namespace {

constexpr std::int64_t kTokens = 530;  // a chunk and a little more

// Calls `check` on every instruction set with 1, 2 and 3 threads.
template <class F>
void everywhere(F&& check) {
  for (const Isa isa : supported_isas())
    for (const int threads : {1, 2, 3}) {
      const test::ForcedIsa forced(isa);
      SCOPED_TRACE(std::string(name(isa)) + ", threads " + std::to_string(threads));
      check(threads);
    }
}

void check(AttentionCase c) {
  Problem& p = c.problem;
  p.q_tokens = std::min(p.q_tokens, kTokens);
  p.kv_tokens = std::min(p.kv_tokens, kTokens);
  const test::Tensor q = test::normal({p.batch, p.q_tokens, p.q_heads, p.head_dim}, 1),
                     k = test::normal({p.batch, p.kv_tokens, p.kv_heads, p.head_dim}, 2),
                     v = test::normal({p.batch, p.kv_tokens, p.kv_heads, p.value_dim()}, 3);
  if (c.source == KvSource::kRows)  // they are in the keys
    test::for_each_index(v.view.extents, [&](auto b, auto j, auto h, auto e) {
      v.view.at(b, j, h, e) = k.view.at(b, j, h, e);
    });
  test::round_to(q.view, p.storage.q);
  if (is_quantised(p.storage.k)) {
    test::PagedSequences(p, k.view, v.view, 16).cache.read(1, 0, k.view, v.view);
  } else {
    test::round_to(k.view, p.storage.k);
    test::round_to(v.view, p.storage.v);
  }
  const Inputs in{q.view, k.view, v.view};
  const test::Outputs expected = test::run_from(c.source, p, in, 1);
  // The masks themselves are held against other descriptions in conformance/.
  const ReferenceMask mask = [&](const ReferencePair& x) { return p.visible(x.b, x.h, x.i, x.j); };
  test::Oracle oracle(p, mask, in, test::sample_rows(p.q_tokens, 12));
  oracle.learn_scaled(p, mask, in, 4);
  EXPECT_TRUE(test::within_bound(oracle, expected.o.view, expected.lse.view, expected.o_dtype));
  everywhere([&](int threads) {
    EXPECT_TRUE(test::same_bits(test::run_from(c.source, p, in, threads), expected));
  });
}

void check(const BatchCase& c) {
  const Problem& p = c.problem;
  const std::int64_t sequences = 3, tokens = kTokens, shared = c.shared ? kChunk : 0;
  PagedKvCache cache({1, p.kv_heads, p.head_dim, p.v_head_dim, 16, 200, p.storage.k});
  const test::Tokens x(tokens, cache.shape());
  const std::int64_t root = test::add(cache, x);
  std::vector<BatchEntry> entries;
  for (std::int64_t n = 0; n < sequences; ++n) {
    const std::int64_t id = cache.fork(root, shared);
    cache.extend(id, tokens - shared);
    cache.store(0, id, shared, test::tokens(x.k.view, shared, tokens - shared),
                test::tokens(x.v.view, shared, tokens - shared));
    entries.push_back({id, 1, tokens, p.mask});
  }
  Problem alone = p, all = p;
  alone.batch = sequences;
  alone.kv_tokens = tokens;
  all.q_tokens = sequences;
  const test::Tensor q = test::normal({1, sequences, p.q_heads, p.head_dim}, 1);
  const ConstTensor apart(q.view.data, {sequences, 1, p.q_heads, p.head_dim});
  test::Outputs expected(alone);
  Scratch scratch;
  std::vector<std::int64_t> same(sequences, root);
  run(make_plan(alone, Threads(1), KvSource::kPages),
      {.q = apart, .k = {}, .v = {}, .cache = &cache.layer(0), .sequences = same}, scratch,
      expected.result());
  everywhere([&](int threads) {
    const BatchPlan plan = make_batch_plan(p, Threads(threads), cache.layer(0), entries);
    EXPECT_EQ(plan.prefixes().size(), c.shared ? 1u : 0u);
    test::Outputs out(all);
    run(plan, q.view, cache.layer(0), scratch, out.result());
    EXPECT_EQ(out.o.memory, expected.o.memory);
  });
}

void check(LinearCase c) {
  c = {c.type, std::min<std::int64_t>(c.rows, 100), std::min<std::int64_t>(c.outputs, 400),
       std::min<std::int64_t>(c.inputs, 300)};
  const test::Tensor x = test::normal({1, 1, c.rows, c.inputs}, 4),
                     w = test::normal({1, 1, c.outputs, c.inputs}, 5);
  const test::Tensor expected = test::plain_linear(c.type, x.view, w.view, {});
  const Linear linear(w.view, {}, c.type);
  everywhere([&](int threads) {
    EXPECT_TRUE(test::same_bits(test::multiply(linear, x.view, threads).view, expected.view));
  });
}

void check(ModelCase c) {
  c.config.vocab_size = 100;
  c.config.num_hidden_layers = 2;
  c.config.layers.resize(2);
  c.config.hidden_size = c.config.intermediate_size = 64;
  const Model model = Model::random(c.config, 1, c.options);
  const std::vector<std::int32_t> tokens(20, 1);
  const auto logits = [&](int threads) {
    Session session(model, Threads(threads), 20);
    return test::hash_bits(session.prefill(tokens));
  };
  const std::uint64_t expected = logits(1);
  everywhere([&](int threads) { EXPECT_EQ(logits(threads), expected); });
}

void check(const ReadCase& c) { EXPECT_EQ(c.block_bytes % 1024, 0); }

TEST(BenchCases, AreRightAndTheSameEverywhereExhaustive) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    std::visit([](const auto& call) { check(call); }, c.call);
  }
}

}  // namespace
}  // namespace rapt::bench
