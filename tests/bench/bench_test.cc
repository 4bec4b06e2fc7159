// What `rapt bench` reports, without measuring anything.

#include <gtest/gtest.h>

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
  for (const Case& c : cases_matching("decode/*")) EXPECT_TRUE(c.name.starts_with("decode/f32/"));
  const auto found = cases_matching("prefill/*/d64/*");
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
  EXPECT_EQ(named("linear/f32/1024x1024x1024").work().flops, 0x1p31);
  EXPECT_EQ(named("linear/f32/1x4096x4096").work().bytes, 4 * (0x1p24 + 8192));
}

TEST(BenchCases, DecodeAndOneTokenRotateBeyondTheCaches) {
  for (const Case& c : cases()) {
    const bool read_once = c.name.starts_with("decode/") || c.name.starts_with("linear/f32/1x");
    EXPECT_EQ(c.rotated_bytes() > 0, read_once) << c.name;
    EXPECT_EQ(memory_bytes(c) >= 2 * kReadBytes, read_once) << c.name;
  }
}

TEST(BenchShare, IsOfTheSlowerCeiling) {
  const Ceilings ceilings{100.0, 10.0};
  const Share fma = share_of({.flops = 800, .bytes = 10}, 16.0, ceilings);
  EXPECT_EQ(fma.share, 0.5);
  EXPECT_EQ(fma.limit, Limit::kFma);
  const Share read = share_of({.flops = 100, .bytes = 80}, 10.0, ceilings);
  EXPECT_EQ(read.share, 0.8);
  EXPECT_EQ(read.limit, Limit::kRead);
}

TEST(BenchShare, TakesTheLargerOfTwoCeilings) {
  const Ceilings both = larger({100.0, 9.0}, {90.0, 10.0});
  EXPECT_EQ(both.fma_flops, 100.0);
  EXPECT_EQ(both.read_bytes, 10.0);
}

Measurements some_measurements() {
  return {2,
          {100e9, 40e9},
          {{"decode/f32/mha/d128/t65536", 2, 0.025, {0.875, Limit::kRead}},
           {"linear/f32/1024x1024x1024", 2, 1.5, {0.25, Limit::kFma}}}};
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
  EXPECT_EQ(report["ceilings"],
            (nlohmann::json{{"fma_gflops", 100.0}, {"read_gbps", 40.0}, {"threads", 2}}));
  ASSERT_EQ(report["cases"].size(), 2u);
  EXPECT_EQ(report["cases"][0], (nlohmann::json{{"name", "decode/f32/mha/d128/t65536"},
                                                {"threads", 2},
                                                {"seconds", 0.025},
                                                {"share", 0.875},
                                                {"limit", "read"}}));
  EXPECT_EQ(report["cases"][1]["limit"], "fma");
}

TEST(BenchReport, TableHasALineACase) {
  const std::string table = to_table({}, some_measurements());
  EXPECT_NE(table.find("25.00 ms    87.5%  read\n"), std::string::npos) << table;
  EXPECT_NE(table.find("1.500 s    25.0%  fma\n"), std::string::npos) << table;
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
