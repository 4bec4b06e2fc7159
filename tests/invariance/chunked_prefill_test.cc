// Promise 2 for prompts in pieces: whole prefill, two pieces cut anywhere, many pieces, token by
// token; plain tensors against a cache.

#include <gtest/gtest.h>

#include "cases.h"

namespace rapt::test {
namespace {

constexpr std::int64_t kTokens = 1100;

struct Prompt {
  Tensor q = normal({1, kTokens, 2, 8}, 1);
  Tensor k = normal({1, kTokens, 1, 8}, 2);
  Tensor v = normal({1, kTokens, 1, 12}, 3);

  ScoreModifiers modifiers{};
  DType dtype = DType::kF32;  // of the cache; k and v are numbers of it

  Problem problem(const Mask& mask, std::int64_t queries, std::int64_t keys) const {
    Problem p;
    p.q_tokens = queries;
    p.kv_tokens = keys;
    p.q_heads = 2;
    p.head_dim = 8;
    p.v_head_dim = 12;
    p.mask = mask;
    p.modifiers = modifiers;
    return p;
  }
};

/// A prompt that is fed to a cache piece by piece; o, lse, m and l are collected.
class Feed {
 public:
  Feed(const Prompt& prompt, const Mask& mask)
      : out(prompt.problem(mask, kTokens, kTokens)),
        prompt_(prompt),
        mask_(mask),
        cache_({1, 1, 8, 12, kTokens, prompt.dtype}) {}

  Outputs out;

  /// Goes back to `length` tokens.
  void truncate(std::int64_t length) { cache_.truncate(0, length); }

  /// Appends tokens up to `end` and attends from them.
  Plan piece(std::int64_t end) {
    const std::int64_t begin = cache_.length(0), count = end - begin;
    cache_.append(tokens(ConstTensor(prompt_.k.view), begin, count),
                  tokens(ConstTensor(prompt_.v.view), begin, count));
    Problem problem = prompt_.problem(mask_, count, end);
    problem.storage.k = problem.storage.v = prompt_.dtype;
    const Plan plan = make_plan(problem, threads_, KvSource::kCache);
    const auto rows = [&](const MutableTensor& t) {
      return MutableTensor(t.data + begin * t.strides[3], {1, 1, 2, count}, t.strides);
    };
    run(plan,
        {.q = tokens(ConstTensor(prompt_.q.view), begin, count),
         .k = {},
         .v = {},
         .cache = &cache_},
        scratch_,
        {tokens(out.o.view, begin, count), rows(out.lse.view), rows(out.m.view), rows(out.l.view)});
    return plan;
  }

 private:
  const Prompt& prompt_;
  Mask mask_;
  Threads threads_{1};
  Scratch scratch_;
  DenseKvCache cache_;
};

/// A mask of the list, and whether scores are modified too: by all that does not come by token. The
/// cache's type.
struct Variant {
  const char* mask;
  bool modified = false;
  DType dtype = DType::kF32;
};

Prompt prompt_of(const Variant& variant) {
  Prompt prompt;
  prompt.dtype = variant.dtype;
  round_to(prompt.k.view, prompt.dtype);
  round_to(prompt.v.view, prompt.dtype);
  if (!variant.modified) return prompt;
  prompt.modifiers.softcap = 2.0f;
  prompt.modifiers.alibi_slopes = alibi_slopes(2);
  prompt.modifiers.relative_bias = RelativeBias{8, 30, false, {}};
  for (int n = 0; n < 16; ++n)
    prompt.modifiers.relative_bias->table.push_back(0.25f * static_cast<float>(n % 5));
  prompt.modifiers.sinks = {0.5f, -1.0f};
  return prompt;
}

class ChunkedPrefill : public testing::TestWithParam<Variant> {
 protected:
  const Prompt prompt_ = prompt_of(GetParam());
  const Mask mask_ =
      mask_named(GetParam().mask).make(prompt_.problem(Mask::none(), kTokens, kTokens)) &
      Mask::causal();
  const Outputs whole_ = run_attention(prompt_.problem(mask_, kTokens, kTokens), prompt_.q.view,
                                       prompt_.k.view, prompt_.v.view);
};

TEST_P(ChunkedPrefill, CutAnywhereExhaustive) {
  for (const Isa isa : supported_isas()) {
    const ForcedIsa forced(isa);
    // Every cut of the plain masks; of the others some, at all residues of 16 and of 48.
    const bool plain = std::string(GetParam().mask) == "causal" ||
                       std::string(GetParam().mask).starts_with("window");
    const std::int64_t step = isa == Isa::kScalar ? 61 : plain && !GetParam().modified ? 1 : 13;
    Feed feed(prompt_, mask_);
    for (std::int64_t cut = 1; cut < kTokens; cut += step) {
      feed.truncate(0);
      feed.piece(cut);
      feed.piece(kTokens);
      ASSERT_TRUE(same_bits(feed.out, whole_)) << name(isa) << ", cut at " << cut;
    }
  }
}

TEST_P(ChunkedPrefill, TokenByToken) {
  for (const Isa isa : supported_isas()) {
    const ForcedIsa forced(isa);
    Feed feed(prompt_, mask_);
    for (std::int64_t end = 1; end <= kTokens; ++end) {
      const Plan plan = feed.piece(end);
      ASSERT_EQ(plan.explain("path"), "decode");
    }
    EXPECT_TRUE(same_bits(feed.out, whole_)) << name(isa);
  }
}

TEST_P(ChunkedPrefill, ManyPieces) {
  for (const std::int64_t size : {2, 3, 7, 16, 17, 48, 100, 511, 512, 513}) {
    Feed feed(prompt_, mask_);
    for (std::int64_t end = 0; end < kTokens;) feed.piece(end = std::min(end + size, kTokens));
    EXPECT_TRUE(same_bits(feed.out, whole_)) << "pieces of " << size;
  }
}

// A prompt, then decoding, then another continuation of the same prompt.
TEST_P(ChunkedPrefill, AfterTruncation) {
  Feed feed(prompt_, mask_);
  feed.piece(700);
  feed.piece(kTokens);
  for (const std::int64_t back : {1099, 1024, 1000, 513, 512, 511, 17, 0}) {
    feed.truncate(back);
    feed.piece(kTokens);
    EXPECT_TRUE(same_bits(feed.out, whole_)) << "truncated to " << back;
  }
}

TEST_P(ChunkedPrefill, TensorsAgainstCache) {
  Feed feed(prompt_, mask_);
  const Plan from_cache = feed.piece(kTokens);
  const Plan from_tensors = make_plan(prompt_.problem(mask_, kTokens, kTokens), Threads(1));
  EXPECT_NE(from_cache.explain("kv"), from_tensors.explain("kv"));
  EXPECT_EQ(from_cache.explain("path"), "prefill");
  EXPECT_TRUE(same_bits(feed.out, whole_));
}

INSTANTIATE_TEST_SUITE_P(
    Masks, ChunkedPrefill,
    testing::Values(Variant{"causal"}, Variant{"causal", true}, Variant{"window600"},
                    Variant{"window5"}, Variant{"documents"}, Variant{"structure", true},
                    Variant{"window_and_global"}, Variant{"strided_7"},
                    Variant{"blocks_of_heads", true}, Variant{"causal", false, DType::kBF16},
                    Variant{"causal", false, DType::kF16},
                    Variant{"window600", true, DType::kBF16}),
    [](const auto& info) {
      return std::string(info.param.mask) + (info.param.modified ? "_modified" : "") +
             (info.param.dtype == DType::kF32 ? "" : std::string("_") + name(info.param.dtype));
    });

}  // namespace
}  // namespace rapt::test
