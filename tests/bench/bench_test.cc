// What `rapt bench` measures and reports; no test depends on how long anything takes.

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "bench/measure.h"
#include "bench/prepare.h"
#include "bench/report.h"
#include "rapt/error.h"

namespace rapt::bench {
namespace {

const Case& named(const std::string& name) {
  for (const Case& c : cases())
    if (c.name == name) return c;
  throw std::runtime_error("no case " + name);
}

TEST(BenchCases, NamesAreUniqueAndMatchThemselves) {
  std::set<std::string> names;
  for (const Case& c : cases()) {
    EXPECT_TRUE(names.insert(c.name).second) << c.name;
    ASSERT_EQ(cases_matching(c.name).size(), 1u) << c.name;
    EXPECT_EQ(cases_matching(c.name)[0].name, c.name);
  }
}

TEST(BenchCases, PatternsSelectInOrder) {
  EXPECT_EQ(cases_matching("*").size(), cases().size());
  for (const Case& c : cases_matching("decode/*")) EXPECT_TRUE(c.name.starts_with("decode/"));
  const auto found = cases_matching("prefill/f32/*/d64/*");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].name, "prefill/f32/causal/d64/t4096/h8");
  EXPECT_EQ(cases_matching("linear/f32/?x*").size(), 1u);
}

TEST(BenchCases, APatternWithoutMatchListsTheCases) {
  try {
    cases_matching("prefil/*");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadArgument);
    for (const Case& c : cases())
      EXPECT_NE(std::string(error.what()).find(c.name), std::string::npos) << c.name;
    EXPECT_NE(std::string(error.what()).find("'prefil/*'"), std::string::npos);
  }
}

TEST(BenchCases, CountUsefulWorkOnly) {
  const double pairs = 4096.0 * 4097 / 2;
  const Work causal = named("prefill/f32/causal/d128/t4096/h8").work();
  EXPECT_EQ(causal.flops, 2 * 8 * pairs * 256);
  EXPECT_EQ(causal.bytes, 4.0 * 2 * 4096 * 8 * 256);
  EXPECT_EQ(named("prefill/f32/dense/d128/t4096/h8").work().flops, 2 * 8 * 4096.0 * 4096 * 256);
  const double window_pairs = 256.0 * 4096 - 256.0 * 255 / 2;
  EXPECT_EQ(named("prefill/f32/window256/d128/t4096/h8").work().flops, 2 * 8 * window_pairs * 256);
  const Work gqa = named("decode/f32/gqa32x8/d128/t65536").work();
  EXPECT_EQ(gqa.flops, 2 * 32 * 65536.0 * 256);
  EXPECT_EQ(gqa.bytes, 4.0 * 256 * (32 + 65536.0 * 8));
  const Work grouped = named("prefill/f32/causal/d128/t2048/h32x8").work();
  EXPECT_EQ(grouped.flops, 2 * 32 * (2048.0 * 2049 / 2) * 256);
  EXPECT_EQ(grouped.bytes, 4.0 * 2048 * (32 + 8) * 256);
  const Work chunk = named("chunk512/f32/causal/d128/t8192/h8").work();
  EXPECT_EQ(chunk.flops, 2 * 8 * (512 * 7680.0 + 512.0 * 513 / 2) * 256);
  EXPECT_EQ(chunk.bytes, 4.0 * (512 + 8192) * 8 * 256);
  const Work hot = named("small/f32/causal/d64/t128/h8").work();
  EXPECT_EQ(hot.flops, 2 * 8 * 128.0 * 128);
  EXPECT_EQ(hot.bytes, 0);
  EXPECT_EQ(named("linear/f32/1024x1024x1024").work().flops, 0x1p31);
  EXPECT_EQ(named("linear/f32/1x4096x4096").work().bytes, 4 * (0x1p24 + 8192));
  EXPECT_EQ(named("linear/bf16/1x4096x4096").work().bytes, 2 * 0x1p24 + 4 * 8192);
  EXPECT_EQ(named("linear/int8/1x4096x4096").work().bytes, 0x1p24 + 4 * 8192);
}

TEST(BenchCases, DecodeAndOneTokenRotateBeyondTheCaches) {
  for (const Case& c : cases()) {
    const bool read_once = c.name.starts_with("decode/") || c.name.starts_with("read/") ||
                           c.name.starts_with("batch") || c.name.starts_with("model/") ||
                           (c.name.starts_with("linear/") && c.name.find("/1x") != c.name.npos);
    EXPECT_EQ(c.rotated_bytes() > 0, read_once) << c.name;
    EXPECT_EQ(memory_bytes(c) >= 2 * kReadBytes, read_once) << c.name;
  }
}

TEST(BenchShare, IsOfTheSlowerCeiling) {
  const Ceilings ceilings{100.0, 7.0, 10.0};
  const Share fma = share_of({.flops = 800, .bytes = 10}, 16.0, ceilings);
  EXPECT_EQ(fma.share, 0.5);
  EXPECT_EQ(fma.limit, Limit::kFma);
  EXPECT_EQ(share_of({800, 10, true}, 16.0, ceilings).share, 0.5);  // without the instruction
  EXPECT_EQ(share_of({800, 10, true}, 16.0, {100.0, 7.0, 10.0, 200.0}).share, 0.25);
  EXPECT_EQ(share_of({800, 10, false}, 16.0, {100.0, 7.0, 10.0, 200.0}).share, 0.5);
  const Share read = share_of({.flops = 100, .bytes = 80}, 10.0, ceilings);
  EXPECT_EQ(read.share, 0.8);
  EXPECT_EQ(read.limit, Limit::kRead);
}

TEST(BenchShare, TakesTheLargerOfTwoCeilings) {
  const Ceilings both = larger({100.0, 7.0, 9.0}, {90.0, 8.0, 10.0});
  EXPECT_EQ(both.fma_flops, 100.0);
  EXPECT_EQ(both.exp_elements, 8.0);
  EXPECT_EQ(both.read_bytes, 10.0);
}

TEST(BenchMeasure, TheFastestRepeatCountsAndRaisesTheFmaCeiling) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  Measurement m{"linear", 1, {.flops = 1200, .bytes = 90}, kNever, {}, 0, {}};
  EXPECT_EQ(take_repeat({24.0, 60.0}, {100.0, 7.0, 10.0}, m).fma_flops, 100.0);
  EXPECT_EQ(m.seconds, 24.0);
  EXPECT_EQ(m.share.share, 0.5);
  const Ceilings raised = take_repeat({10.0, 90.0}, {110.0, 7.0, 10.0}, m);
  EXPECT_EQ(raised.fma_flops, 120.0);
  EXPECT_EQ(raised.exp_elements, 7.0);
  EXPECT_EQ(raised.read_bytes, 10.0);
  take_repeat({12.0, 100.0}, {100.0, 7.0, 10.0}, m);
  EXPECT_EQ(m.seconds, 10.0);
  EXPECT_EQ(m.clock, 0.75);
  EXPECT_EQ(m.share.share, 1.0);
}

TEST(BenchMeasure, OnOneThreadAndOnAll) {
  const std::vector<Case> measured = cases_matching("small/*");
  std::vector<std::string> told;
  const Measurements found =
      measure(measured, Threads(3), 2, [&](const std::string& name) { told.push_back(name); });
  EXPECT_EQ(told, (std::vector<std::string>{"ceilings", measured[0].name}));
  ASSERT_EQ(found.ceilings.size(), 3u);
  for (const Ceilings& c : found.ceilings) {
    EXPECT_GT(c.fma_flops, 0);
    EXPECT_GT(c.exp_elements, 0);
    EXPECT_GT(c.read_bytes, 0);
  }
  ASSERT_EQ(found.cases.size(), 2u);
  const Measurement &one = found.cases[0], &all = found.cases[1];
  EXPECT_EQ(one.threads, 1);
  EXPECT_EQ(all.threads, 3);
  for (const Measurement& m : found.cases) {
    EXPECT_EQ(m.name, measured[0].name);
    EXPECT_EQ(m.work.flops, measured[0].work().flops);
    EXPECT_GT(m.seconds, 0);
    EXPECT_GT(m.share.share, 0);
    EXPECT_GT(m.clock, 0);
    EXPECT_LE(m.share.share, 1);
    EXPECT_GE(found.ceilings[m.threads - 1].fma_flops, m.work.flops / m.seconds);
  }
  EXPECT_FALSE(one.scaling);
  EXPECT_EQ(all.scaling, all.share.share / one.share.share);
}

Measurements some_measurements() {
  const Work decode{1e9, 2e9}, product{0x1p31, 12e6};
  return {{{50e9, 4e9, 20e9}, {100e9, 8e9, 40e9}},
          {{"decode/f32/mha/d128/t65536", 1, decode, 0.05, {0.75, Limit::kRead}, 0.5, {}},
           {"decode/f32/mha/d128/t65536", 2, decode, 0.025, {0.875, Limit::kRead}, 1, 1.25},
           {"linear/f32/1024x1024x1024", 2, product, 1.5, {0.25, Limit::kFma}, 1, 0.5},
           {"small/f32/causal/d64/t128/h8", 2, {2e5, 0}, 6.5e-6, {0.125, Limit::kFma}, 1, 0.5}}};
}

TEST(BenchReport, JsonIsOneObjectOfTheStatedForm) {
  Machine machine;
  machine.cpu = "a \"quoted\" \\ cpu";
  machine.cores = 2;
  const auto report = nlohmann::json::parse(to_json(machine, some_measurements()));
  EXPECT_EQ(report.size(), 3u);
  EXPECT_EQ(report["machine"]["cpu"], machine.cpu);
  EXPECT_EQ(report["machine"]["cores"], 2);
  EXPECT_TRUE(report["machine"]["memory_bytes"].is_null());
  ASSERT_EQ(report["ceilings"].size(), 2u);
  EXPECT_EQ(report["ceilings"][0]["threads"], 1);
  EXPECT_EQ(report["ceilings"][0]["fma_gflops"], 50.0);
  EXPECT_EQ(report["ceilings"][1], (nlohmann::json{{"threads", 2},
                                                   {"fma_gflops", 100.0},
                                                   {"exp_gelements", 8.0},
                                                   {"read_gbps", 40.0},
                                                   {"dot_gflops", nullptr}}));
  ASSERT_EQ(report["cases"].size(), 4u);
  EXPECT_TRUE(report["cases"][0]["scaling"].is_null());
  EXPECT_EQ(report["cases"][1], (nlohmann::json{{"name", "decode/f32/mha/d128/t65536"},
                                                {"threads", 2},
                                                {"flops", 1e9},
                                                {"bytes", 2e9},
                                                {"seconds", 0.025},
                                                {"share", 0.875},
                                                {"limit", "read"},
                                                {"clock", 1.0},
                                                {"scaling", 1.25}}));
  EXPECT_EQ(report["cases"][2]["limit"], "fma");
}

TEST(BenchReport, TableHasALineACase) {
  const std::string table = to_table({}, some_measurements());
  for (const char* line : {"       1    50.0 GFLOP/s     4.00 Gexp/s   20.0 GB/s\n",
                           "       2   100.0 GFLOP/s     8.00 Gexp/s   40.0 GB/s\n",
                           "  1     50.00 ms    75.0%  read   0.50\n",
                           "  2     25.00 ms    87.5%  read   1.00   125.0%\n",
                           "  2      1.500 s    25.0%  fma    1.00    50.0%\n",
                           "  2      6.50 us    12.5%  fma    1.00    50.0%\n"})
    EXPECT_NE(table.find(line), std::string::npos) << line << table;
}

TEST(BenchMachine, IsDescribed) {
  const Machine machine = this_machine();
  EXPECT_GE(machine.cores, 1);
  EXPECT_FALSE(machine.isa.empty());
  EXPECT_FALSE(machine.compiler.empty());
  EXPECT_FALSE(machine.version.empty());
  EXPECT_GT(available_bytes(), 0);
}

}  // namespace
}  // namespace rapt::bench
