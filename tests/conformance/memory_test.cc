// Memory is linear in the tokens: the plan's working memory, and the resident memory of a run.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdio>
#include <fstream>

#include "cases.h"

namespace rapt::test {
namespace {

AttentionCase one_head(const std::string& mask, std::int64_t length) {
  AttentionCase c;
  c.q_tokens = c.kv_tokens = length;
  c.head_dim = 64;
  c.mask = &mask_named(mask);
  return c;
}

TEST(Memory, OfThePlanIsLinear) {
  for (const char* mask : {"none", "causal", "window600"})
    for (const int threads : {1, 8})
      for (const auto source : {KvSource::kTensors, KvSource::kCache})
        for (std::int64_t length = 1024; length <= 1 << 20; length *= 2) {
          AttentionCase c = one_head(mask, length);
          const Plan once = make_plan(c.problem(), Threads(threads), source);
          c.q_tokens = c.kv_tokens = 2 * length;
          const Plan twice = make_plan(c.problem(), Threads(threads), source);
          // Twice the packed keys and values, and one more level of the merge tree.
          EXPECT_LE(twice.scratch_bytes(), 2.2 * once.scratch_bytes()) << c.name();
        }
}

// A prefill of several blocks keeps packed what its rows see: under a window not the whole cache.
TEST(Memory, OfThePlanIsThatOfTheSlotsThatAreSeen) {
  for (const int threads : {1, 8})
    for (const auto source : {KvSource::kTensors, KvSource::kCache}) {
      AttentionCase c = one_head("window600", 4096);
      c.q_tokens = 1056;
      c.storage = Storage::all(DType::kBF16);
      const Plan few = make_plan(c.problem(), Threads(threads), source);
      c.kv_tokens = 1 << 20;
      const Plan many = make_plan(c.problem(), Threads(threads), source);
      EXPECT_TRUE(many.explain("kv").ends_with("once a kv head")) << many.explain();
      // Levels of the merge tree, no keys and values.
      EXPECT_LE(many.scratch_bytes(), 2 * few.scratch_bytes()) << c.name();
    }
}

double peak_resident_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024.0;
}

/// Peak growth of resident memory over a run of `length` tokens of one head, without inputs and
/// outputs.
double run_peak_mib(const std::string& mask, std::int64_t length) {
  const AttentionCase c = one_head(mask, length);
  const CaseInputs in(c);
  const Plan plan = make_plan(c.problem(), Threads(1));
  Outputs out(plan.problem());
  std::ofstream("/proc/self/clear_refs") << 5;  // resets the peak to what is resident now
  const double before = peak_resident_mib();
  Scratch scratch;
  run(plan, in.inputs(), scratch, out.result());
  const double peak = peak_resident_mib() - before;
  std::printf(
      "[ measured ] %s, %lld tokens: peak %.1f MiB, planned %.1f MiB; T x T would be %.0f MiB\n",
      mask.c_str(), static_cast<long long>(length), peak, plan.scratch_bytes() / 1048576.0,
      4.0 * length * length / 1048576.0);
  return peak;
}

// Causal attention over 128k tokens takes minutes; a window takes seconds, in the same memory.
TEST(Memory, PeakOf128kTokensOfOneHeadIsLinearExhaustive) {
  const std::string mask = full_grid() ? "causal" : "window600";
  const double half = run_peak_mib(mask, 65536), full = run_peak_mib(mask, 131072);
  EXPECT_LE(full, 2.1 * half + 4);  // MiB: the allocator's own pages
  EXPECT_LE(full, 256);
}

// Every kind of mask at 128k tokens, cut to a window so that it is quick: the mask with its lists, the
// plan with its tiles, the run. T x T bits would be 2 GiB. Dense masks are the user's own T x T.
TEST(Memory, PeakOfEveryMaskAt128kTokensExhaustive) {
  for (const NamedMask& mask : masks()) {
    if (std::string(mask.name).starts_with("dense")) continue;
    AttentionCase c;
    c.q_tokens = c.kv_tokens = 131072;
    c.head_dim = 8;
    c.mask = &mask_named("none");
    const CaseInputs in(c);
    Problem p = c.problem();
    Outputs out(p);
    std::ofstream("/proc/self/clear_refs") << 5;
    const double before = peak_resident_mib();
    p.mask = mask.make(p) & Mask::window(64, 64);
    Scratch scratch;
    run(make_plan(p, Threads(1)), in.inputs(), scratch, out.result());
    const double peak = peak_resident_mib() - before;
    std::printf("[ measured ] %s and a window, 131072 tokens: peak %.1f MiB\n", mask.name, peak);
    EXPECT_LE(peak, 64) << mask.name;
  }
}

}  // namespace
}  // namespace rapt::test
