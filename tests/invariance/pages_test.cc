// Promise 2, same bits, of caches in pages.

#include <gtest/gtest.h>

#include <cmath>

#include "cases.h"
#include "invariance/canonical_order.h"
#include "invariance/grouped_case.h"
#include "paged_tokens.h"
#include "rejects.h"

namespace rapt::test {
namespace {

constexpr std::int64_t kPageSizes[] = {16, 48, 64, 256, 512, 1024};
constexpr std::int64_t kQueryCounts[] = {1, 5, 70, 600};  // streams; one block; several

/// Runs a case from pages of some size.
Outputs from_pages(const AttentionCase& c, const CaseInputs& in, std::int64_t page_size,
                   int threads) {
  const Problem p = c.problem();
  const Stored q(in.q.view, p.storage.q);
  const PagedSequences pages(p, in.k.view, in.v.view, page_size);
  return run_attention(make_plan(p, Threads(threads), KvSource::kPages), pages.inputs(q.view));
}

TEST(Invariance, PagesOfAnySize) {
  for (const DType dtype : kAllDTypes)
    for (const char* mask : {"causal", "window600"})
      for (const std::int64_t queries : kQueryCounts) {
        AttentionCase c = grouped_case(mask, queries, 1100);
        c.batch = 2;
        c.v_head_dim = 40;
        c.storage = Storage::all(dtype);
        SCOPED_TRACE(c.name());
        const CaseInputs in(c);
        round_to(in.k.view, dtype);
        round_to(in.v.view, dtype);
        const Outputs expected = run_case(c, in);
        for (const std::int64_t size : kPageSizes)
          EXPECT_TRUE(same_bits(from_pages(c, in, size, size % 3 + 1), expected)) << size;
      }
}

TEST(Invariance, PagesInNativeBf16) {
  for (const std::int64_t queries : {1, 8, 70}) {
    const AttentionCase c = in_native(grouped_case("causal", queries, 700));
    const CaseInputs in(c);
    const Outputs expected = run_case(c, in);
    for (const std::int64_t size : {16, 48, 512})
      EXPECT_TRUE(same_bits(from_pages(c, in, size, 2), expected)) << c.name() << size;
  }
}

// An encoder's keys are kept once, and every beam attends to them.
TEST(Invariance, BeamsShareASequence) {
  constexpr std::int64_t kBeams = 4;
  for (const std::int64_t queries : {1, 30}) {
    AttentionCase c = grouped_case("none", queries, 700);
    c.batch = kBeams;
    CaseInputs in(c);
    const ConstTensor k = sequence(in.k.view, 0), v = sequence(in.v.view, 0);
    for (std::int64_t b = 1; b < kBeams; ++b) {
      copy(k, sequence(in.k.view, b));
      copy(v, sequence(in.v.view, b));
    }
    const Problem p = c.problem();
    DenseKvCache memory({1, p.kv_heads, p.head_dim, p.v_head_dim, 700});
    memory.append(k, v);
    const std::vector<std::int64_t> beams(kBeams, 0);
    const Inputs inputs{.q = in.q.view, .cache = &memory, .sequences = beams};
    EXPECT_TRUE(same_bits(run_attention(make_plan(p, Threads(2), KvSource::kCache), inputs),
                          run_case(c, in)));
  }
}

TEST(Invariance, PlansSayHowPagesAreRead) {
  const auto said = [](std::int64_t queries, DType dtype) {
    Problem p = grouped_case("causal", queries, 1500).problem();
    p.storage.k = p.storage.v = dtype;
    return make_plan(p, Threads(1), KvSource::kPages).explain("kv");
  };
  EXPECT_EQ(said(1, DType::kInt8), "pages, read in place");
  EXPECT_EQ(said(1, DType::kF32), "pages, read in place");
  EXPECT_EQ(said(70, DType::kF32), "pages, gathered once a chunk");
  EXPECT_EQ(said(600, DType::kF8E4M3), "pages, widened once a kv head");
}

/// x as a quantised cache keeps it: elements, and scales [1, B, H, T].
void quantise(const MutableTensor& x, DType dtype, Tensor& scales) {
  const auto [batch, tokens, heads, dim] = x.extents;
  scales = Tensor({1, batch, heads, tokens});
  for_each_index({batch, tokens, heads, 1}, [&](auto b, auto t, auto h, auto) {
    float largest = 0.0f;
    for (std::int64_t e = 0; e < dim; ++e) largest = std::max(largest, std::abs(x.at(b, t, h, e)));
    const float scale = largest / (dtype == DType::kInt8 ? 127.0f : 448.0f);
    scales.view.at(0, b, h, t) = scale;
    for (std::int64_t e = 0; e < dim; ++e) {
      const float ratio = x.at(b, t, h, e) / scale;
      x.at(b, t, h, e) = dtype == DType::kInt8 ? std::nearbyint(ratio) : to_float(to_f8e4m3(ratio));
    }
  });
}

// Against the document's order in plain loops, decode and prefill, on every instruction set.
TEST(Invariance, QuantisedPages) {
  for (const DType dtype : {DType::kInt8, DType::kF8E4M3})
    for (const Modifiers modifiers : {Modifiers::kNone, Modifiers::kAll})
      for (const std::int64_t queries : {1, 8, 70}) {
        AttentionCase c = grouped_case("causal", queries, 700);
        c.modifiers = modifiers;
        SCOPED_TRACE(std::string(name(dtype)) + " " + c.name());
        CaseInputs in(c);
        Problem p = c.problem();
        p.modifiers.additive_bias = false;
        p.storage.k = p.storage.v = dtype;
        const auto run_in = [&](std::int64_t size, int threads) {
          const PagedSequences sequences(p, in.k.view, in.v.view, size);
          return run_attention(make_plan(p, Threads(threads), KvSource::kPages),
                               sequences.inputs(in.q.view));
        };
        const Outputs out = run_in(48, 1);
        for (const std::int64_t size : {16, 256, 1024})
          EXPECT_TRUE(same_bits(run_in(size, 3), out));
        for (const Isa isa : supported_isas()) {
          const ForcedIsa forced(isa);
          EXPECT_TRUE(same_bits(run_in(64, 1), out)) << name(isa);
        }
        CanonicalScales scales;
        quantise(in.k.view, dtype, scales.k);
        quantise(in.v.view, dtype, scales.v);
        p.storage.k = p.storage.v = DType::kF32;
        EXPECT_TRUE(canonical_bits(p, c.mask->reference,
                                   {.q = in.q.view, .k = in.k.view, .v = in.v.view}, out,
                                   sample_rows(queries, 4), &scales));
      }
}

// A row's bits do not depend on how many rows there are: a decode's are those of a prefill.
TEST(Invariance, QuantisedDecodeHasTheBitsOfPrefill) {
  for (const DType dtype : {DType::kInt8, DType::kF8E4M3}) {
    const AttentionCase all = grouped_case("causal", 600, 600);
    const CaseInputs in(all);
    Problem p = all.problem();
    p.storage.k = p.storage.v = dtype;
    const PagedSequences pages(p, in.k.view, in.v.view, 64);
    const Outputs whole =
        run_attention(make_plan(p, Threads(1), KvSource::kPages), pages.inputs(in.q.view));
    for (const std::int64_t token : {0, 15, 16, 511, 512, 599}) {
      Problem one = p;
      one.q_tokens = 1;
      one.kv_tokens = token + 1;
      const Outputs row = run_attention(make_plan(one, Threads(1), KvSource::kPages),
                                        pages.inputs(tokens(in.q.view, token, 1)));
      EXPECT_TRUE(same_bits(row.o.view, tokens(whole.o.view, token, 1))) << token;
    }
  }
}

// A token that is not finite has a scale that is none: who sees it has NaN, who does not is as if it
// were another.
TEST(Hermetic, PoisonInQuantisedPages) {
  for (const DType dtype : {DType::kInt8, DType::kF8E4M3})
    for (const std::int64_t queries : {3, 90})
      for (const bool keys : {true, false})
        for (const Isa isa : supported_isas()) {
          const ForcedIsa forced(isa);
          const AttentionCase c = grouped_case("causal", queries, 90);
          CaseInputs in(c);
          Problem p = c.problem();
          p.storage.k = p.storage.v = dtype;
          const auto run_now = [&] {
            const PagedSequences pages(p, in.k.view, in.v.view, 16);
            return run_attention(make_plan(p, Threads(1), KvSource::kPages),
                                 pages.inputs(in.q.view));
          };
          const Outputs clean = run_now();
          const std::int64_t token = 89;  // the last query alone sees it
          (keys ? in.k : in.v).view.at(0, token, 0, 1) = std::numeric_limits<float>::infinity();
          const Outputs out = run_now();
          EXPECT_TRUE(
              same_bits(tokens(out.o.view, 0, queries - 1), tokens(clean.o.view, 0, queries - 1)));
          EXPECT_TRUE(std::isnan(out.o.view.at(0, queries - 1, 0, 0)));
        }
}

TEST(BadInput, Pages) {
  const AttentionCase c = grouped_case("causal", 2, 40);
  const CaseInputs in(c);
  Problem p = c.problem();
  const PagedSequences pages(p, in.k.view, in.v.view, 16);
  Scratch scratch;
  Outputs out(p);
  const auto run_with = [&](const Inputs& inputs, KvSource source = KvSource::kPages) {
    run(make_plan(p, Threads(1), source), inputs, scratch, out.result());
  };
  const std::vector<std::int64_t> two = {0, 0}, none = {7};
  Inputs inputs = pages.inputs(in.q.view);
  EXPECT_NO_THROW(run_with(inputs));
  EXPECT_TRUE(
      rejects("Inputs.cache sequence 0", kArgument, [&] { run_with(inputs, KvSource::kCache); }));
  inputs.sequences = two;
  EXPECT_TRUE(rejects("Inputs.sequences", kShape, [&] { run_with(inputs); }));
  inputs.sequences = none;
  EXPECT_TRUE(rejects("Inputs.cache sequence 7", kShape, [&] { run_with(inputs); }));
  p.kv_tokens = 41;
  EXPECT_TRUE(
      rejects("Inputs.cache sequence 0", kShape, [&] { run_with(pages.inputs(in.q.view)); }));
  p.kv_tokens = 40;
  p.storage.k = p.storage.v = DType::kInt8;
  EXPECT_TRUE(rejects("Inputs.cache type", kArgument, [&] { run_with(pages.inputs(in.q.view)); }));
  EXPECT_TRUE(rejects("Problem.storage.k", kArgument,
                      [&] { make_plan(p, Threads(1), KvSource::kTensors); }));
  p.storage.k = DType::kF32;
  EXPECT_TRUE(
      rejects("Problem.storage.v", kArgument, [&] { make_plan(p, Threads(1), KvSource::kPages); }));
  p.storage = {.q = DType::kInt8};
  EXPECT_TRUE(rejects("Problem.storage.q", kArgument, [&] { make_plan(p, Threads(1)); }));
  p.storage = {.o = DType::kF8E4M3};
  EXPECT_TRUE(rejects("Problem.storage.o", kArgument, [&] { make_plan(p, Threads(1)); }));
}

}  // namespace
}  // namespace rapt::test
