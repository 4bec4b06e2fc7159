// The bits of a few cases, written down: every later build, instruction set and machine has them.
//
// RAPT_WRITE_GOLDEN=1 writes tests/golden/attention.json anew, which a change of the canonical
// order needs and nothing else does.

#include <gtest/gtest.h>

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <map>

#include "cases.h"

namespace rapt::test {
namespace {

constexpr char kFile[] = RAPT_GOLDEN_DIR "/attention.json";

void add_native(std::vector<AttentionCase>& cases) {
  AttentionCase c;
  c.batch = 2;
  c.q_heads = 2;
  c.head_dim = 35;
  c.v_head_dim = 24;
  for (const char* mask : {"none", "causal", "window600", "strided_7"})
    for (const auto& [queries, keys] : {std::pair{70, 601}, {1, 3001}})
      for (const auto values : {Values::kNormal, Values::kLarge, Values::kTiny}) {
        c.mask = &mask_named(mask);
        c.q_tokens = queries;
        c.kv_tokens = keys;
        c.values = values;
        c.source = queries == 1 ? KvSource::kCache : KvSource::kTensors;
        cases.push_back(in_native(c));
      }
  c.modifiers = Modifiers::kAll;
  cases.push_back(in_native(c));
}

std::vector<AttentionCase> golden_cases() {
  std::vector<AttentionCase> cases;
  const auto add = [&](AttentionCase c, const char* mask, Padding padding, Values values) {
    c.mask = &mask_named(mask);
    c.padding = padding;
    c.values = values;
    cases.push_back(c);
  };
  AttentionCase prefill;
  prefill.batch = 3;
  prefill.q_tokens = 70;
  prefill.kv_tokens = 600;
  prefill.q_heads = 2;
  prefill.head_dim = 24;
  AttentionCase decode = prefill;
  decode.q_tokens = 1;
  decode.kv_tokens = 3000;
  decode.source = KvSource::kCache;
  for (const NamedMask& mask : masks()) {
    add(prefill, mask.name, Padding::kNone, Values::kNormal);
    add(decode, mask.name, Padding::kNone, Values::kNormal);
  }
  for (int n = 1; n < kModifierSets; ++n) {
    prefill.modifiers = static_cast<Modifiers>(n);
    add(prefill, "causal", Padding::kNone, Values::kNormal);
  }
  prefill.modifiers = Modifiers::kNone;
  for (const auto padding : {Padding::kLeft, Padding::kRight, Padding::kMixed})
    add(prefill, "causal", padding, Values::kPeaked);
  add(prefill, "causal", Padding::kNone, Values::kLarge);
  add(prefill, "causal", Padding::kNone, Values::kTiny);
  prefill.head_dim = 111;
  prefill.v_head_dim = 31;
  add(prefill, "causal", Padding::kNone, Values::kNormal);
  add_native(cases);
  return cases;
}

std::string hash_of(const AttentionCase& c) {
  const Outputs out = run_case(c, CaseInputs(c));
  char text[64];
  std::snprintf(text, sizeof text, "%016" PRIx64 " %016" PRIx64, hash_bits(out.o.view),
                hash_bits(out.lse.view));
  return text;
}

/// Lines of the file: `"name": "hash of o, hash of lse"`.
std::map<std::string, std::string> read_golden() {
  std::map<std::string, std::string> golden;
  std::ifstream file(kFile);
  for (std::string line; std::getline(file, line);) {
    std::vector<std::string> quoted;
    for (std::size_t at = 0; (at = line.find('"', at)) != std::string::npos; ++at) {
      const std::size_t end = line.find('"', at + 1);
      quoted.push_back(line.substr(at + 1, end - at - 1));
      at = end;
    }
    if (quoted.size() == 2) golden[quoted[0]] = quoted[1];
  }
  return golden;
}

void write_golden() {
  std::ofstream file(kFile);
  file << "{\n";
  const auto cases = golden_cases();
  for (const AttentionCase& c : cases)
    file << "  \"" << c.name() << "\": \"" << hash_of(c) << "\""
         << (&c == &cases.back() ? "\n" : ",\n");
  file << "}\n";
}

TEST(Golden, Bits) {
  if (std::getenv("RAPT_WRITE_GOLDEN") != nullptr) write_golden();
  const auto golden = read_golden();
  EXPECT_EQ(golden.size(), golden_cases().size());
  for (const AttentionCase& c : golden_cases())
    for (const Isa isa : supported_isas()) {
      const ForcedIsa forced(isa);
      const auto expected = golden.find(c.name());
      ASSERT_NE(expected, golden.end()) << c.name();
      EXPECT_EQ(hash_of(c), expected->second) << c.name() << ", " << name(isa);
    }
}

}  // namespace
}  // namespace rapt::test
