#include "base/splitmix64.h"

#include <gtest/gtest.h>

namespace rapt::test {
namespace {

TEST(SplitMix64, NumbersAreThoseOfThePaper) {
  EXPECT_EQ(mix64(0), 0u);
  EXPECT_EQ(splitmix64(0, 1), 0xE220A8397B1DCDAFu);
  const std::uint64_t expected[] = {6457827717110365317u, 3203168211198807973u,
                                    9817491932198370423u, 4593380528125082431u,
                                    16408922859458223821u};
  for (std::uint64_t n = 1; n <= 5; ++n) EXPECT_EQ(splitmix64(1234567, n), expected[n - 1]);
}

}  // namespace
}  // namespace rapt::test
