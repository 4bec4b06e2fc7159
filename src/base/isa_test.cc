#include "base/isa.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string>
#include <vector>

#include "rapt/error.h"

namespace rapt {
namespace {

class ForceIsaTest : public testing::Test {
 protected:
  ForceIsaTest() {
    if (const char* value = std::getenv(kVariable)) saved_ = value;
  }
  ~ForceIsaTest() override { force(saved_); }

  static void force(const std::string& value) { setenv(kVariable, value.c_str(), 1); }

  static constexpr const char* kVariable = "RAPT_FORCE_ISA";

 private:
  std::string saved_;
};

TEST_F(ForceIsaTest, EverySupportedNameIsChosen) {
  for (const Isa isa : supported_isas()) {
    force(name(isa));
    EXPECT_EQ(active_isa(), isa) << name(isa);
  }
}

TEST_F(ForceIsaTest, EmptyAndUnsetMeanTheBest) {
  force("");
  EXPECT_EQ(active_isa(), supported_isas().front());
  unsetenv(kVariable);
  EXPECT_EQ(active_isa(), supported_isas().front());
}

TEST_F(ForceIsaTest, OtherNamesAreErrorsThatListTheKnownOnes) {
  for (const std::string wrong : {"avx", "AVX2", "avx2 ", "scalar,avx2", "sse9"}) {
    force(wrong);
    try {
      active_isa();
      ADD_FAILURE() << "'" << wrong << "' was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
      const std::string what = error.what();
      for (const std::string part :
           {"RAPT_FORCE_ISA: expected", "scalar", "neon", "avx2", "avx512", "avx512bf16"})
        EXPECT_NE(what.find(part), std::string::npos) << what;
      EXPECT_NE(what.find("got '" + wrong + "'"), std::string::npos) << what;
    }
  }
}

TEST_F(ForceIsaTest, AnUnsupportedNameIsAnErrorToo) {
  const auto& supported = supported_isas();
  int unsupported = 0;
  for (const Isa isa : {Isa::kNeon, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (std::find(supported.begin(), supported.end(), isa) != supported.end()) continue;
    force(name(isa));
    EXPECT_THROW(active_isa(), Error) << name(isa);
    ++unsupported;
  }
  EXPECT_GE(unsupported, 1);  // no CPU runs all
}

TEST(IsaTest, SupportedOnesDescendToScalar) {
  const auto& all = supported_isas();
  for (std::size_t i = 1; i < all.size(); ++i) EXPECT_LT(all[i], all[i - 1]);
  EXPECT_EQ(all.back(), Isa::kScalar);
}

TEST(IsaTest, EntryForTakesTheBestThatRuns) {
  struct Entry {
    Isa isa;
  };
  const Entry table[] = {{Isa::kAvx512}, {Isa::kScalar}};
  const std::vector<Entry> entries(std::begin(table), std::end(table));
  EXPECT_EQ(entry_for(entries, Isa::kAvx512).isa, Isa::kAvx512);
  EXPECT_EQ(entry_for(entries, Isa::kAvx2).isa, Isa::kScalar);
}

}  // namespace
}  // namespace rapt
