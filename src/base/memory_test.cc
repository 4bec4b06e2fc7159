#include "base/memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string>

#include "base/carver.h"
#include "base/check.h"
#include "rapt/scratch.h"

namespace rapt {
namespace {

bool is_aligned(const void* memory, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(memory) % alignment == 0;
}

TEST(MemoryTest, IsAlignedAndZero) {
  constexpr std::size_t kHuge = std::size_t{2} << 20;
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{64}, kHuge - 1, kHuge, kHuge + 1}) {
    auto* memory = static_cast<unsigned char*>(allocate_aligned(bytes));
    EXPECT_TRUE(is_aligned(memory, bytes < kHuge ? 64 : kHuge)) << bytes;
    EXPECT_TRUE(std::all_of(memory, memory + bytes, [](unsigned char x) { return x == 0; }));
    free_aligned(memory);
  }
}

TEST(MemoryTest, TooMuchIsAnError) {
  // The first overflows when it is rounded up; the second is more than any address.
  for (const std::size_t bytes : {std::numeric_limits<std::size_t>::max(), std::size_t{1} << 62}) {
    try {
      allocate_aligned(bytes);
      ADD_FAILURE() << bytes;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
      EXPECT_NE(std::string(error.what()).find(std::to_string(bytes)), std::string::npos);
    }
  }
}

TEST(ScratchTest, GrowsAndNeverShrinks) {
  Scratch scratch;
  std::byte* first = scratch.reserve(1000);
  EXPECT_TRUE(is_aligned(first, 64));
  EXPECT_EQ(scratch.reserve(10), first);
  EXPECT_EQ(scratch.reserve(1000), first);
  std::byte* larger = scratch.reserve(100000);
  std::fill_n(larger, 100000, std::byte{1});
  EXPECT_EQ(scratch.reserve(1), larger);
}

TEST(CarverTest, MeasuresWhatItHandsOut) {
  const auto layout = [](Carver& carver) {
    const auto* a = carver.take<float>(3);
    const auto* b = carver.take<std::byte>(65);
    const auto* c = carver.take<double>(0);
    const auto* d = carver.take<std::int64_t>(8);
    return std::array<const void*, 4>{a, b, c, d};
  };
  Carver measure;
  for (const void* piece : layout(measure)) EXPECT_EQ(piece, nullptr);
  EXPECT_EQ(measure.bytes(), 64u + 128u + 0u + 64u);

  Scratch scratch;
  std::byte* memory = scratch.reserve(measure.bytes());
  Carver carver(memory);
  const std::array<const void*, 4> pieces = layout(carver);
  EXPECT_EQ(pieces[0], memory);
  EXPECT_EQ(pieces[1], memory + 64);
  EXPECT_EQ(pieces[2], memory + 192);
  EXPECT_EQ(pieces[3], memory + 192);
  EXPECT_EQ(carver.bytes(), measure.bytes());
}

TEST(RequireTest, SaysWhereExpectedAndGot) {
  EXPECT_NO_THROW(require(true, ErrorCode::kBadShape, "x", "y", 1));
  try {
    require(false, ErrorCode::kBadShape, "Problem.q_heads", "a multiple of kv_heads (4)", 6);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadShape);
    EXPECT_STREQ(error.what(), "Problem.q_heads: expected a multiple of kv_heads (4), got 6");
  }
}

TEST(ErrorCodeTest, NamesAreStable) {
  EXPECT_STREQ(name(ErrorCode::kBadArgument), "bad_argument");
  EXPECT_STREQ(name(ErrorCode::kBadShape), "bad_shape");
  EXPECT_STREQ(name(ErrorCode::kUnsupported), "unsupported");
  EXPECT_STREQ(name(ErrorCode::kBadFile), "bad_file");
  EXPECT_STREQ(name(ErrorCode::kIo), "io");
  EXPECT_STREQ(name(ErrorCode::kOutOfMemory), "out_of_memory");
}

}  // namespace
}  // namespace rapt
