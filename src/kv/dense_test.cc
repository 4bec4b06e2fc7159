#include <gtest/gtest.h>

#include <cstring>

#include "base/float_control.h"
#include "rapt/kv_cache.h"
#include "util.h"

namespace rapt::test {
namespace {

TEST(DenseKvCache, ReadsBackWhatWasAppended) {
  const Tensor k = normal({2, 530, 3, 5}, 1), v = normal({2, 530, 3, 18}, 2);
  DenseKvCache cache({2, 3, 5, 18, 600});
  for (std::int64_t first = 0; first < 530; first += 53)
    cache.append(tokens(ConstTensor(k.view), first, 53), tokens(ConstTensor(v.view), first, 53));
  for (const std::int64_t count : {0, 1, 17, 512, 530})
    for (const int b : {0, 1})
      for (const Layout layout : {Layout::kContiguous, Layout::kReversed}) {
        const Tensor read_k({1, count, 3, 5}, layout), read_v({1, count, 3, 18}, layout);
        cache.read(b, read_k.view, read_v.view);
        EXPECT_TRUE(same_bits(tokens(sequence(k.view, b), 0, count), read_k.view)) << count;
        EXPECT_TRUE(same_bits(tokens(sequence(v.view, b), 0, count), read_v.view)) << count;
      }
}

/// Bits of an element, of NaN too.
std::uint32_t element_bits(const AnyConstTensor& t, std::int64_t j, std::int64_t e) {
  std::uint32_t word = 0;
  std::memcpy(&word, t.address(0, j, 0, e), static_cast<std::size_t>(size_of(t.dtype)));
  return word;
}

// Tokens of every type into a cache of every type, at once and one by one: rounded once, or the same
// bits.
TEST(DenseKvCache, ConvertsBetweenTypes) {
  const std::int64_t count = 37;
  const Tensor k = normal({1, count, 2, 33}, 1, 3e4f), v = normal({1, count, 2, 18}, 2, 1e-6f);
  for (const DType from : kAllDTypes)
    for (const DType to : kAllDTypes)
      for (const Layout layout : {Layout::kContiguous, Layout::kReversed}) {
        SCOPED_TRACE(testing::Message() << name(from) << " to " << name(to));
        const Stored given_k(k.view, from, layout), given_v(v.view, from, layout);
        DenseKvCache whole({1, 2, 33, 18, 40, to}), single({1, 2, 33, 18, 40, to});
        whole.append(given_k.view, given_v.view);
        for (std::int64_t t = 0; t < count; ++t)
          single.append(tokens(given_k.view, t, 1), tokens(given_v.view, t, 1));
        for (const DenseKvCache* cache : {&whole, &single}) {
          const Tensor read_k(k.view.extents), read_v(v.view.extents);
          cache->read(0, read_k.view, read_v.view);
          const Tensor want_k(k.view.extents), want_v(v.view.extents);
          convert(given_k.view, want_k.view);
          convert(given_v.view, want_v.view);
          round_to(want_k.view, to);
          round_to(want_v.view, to);
          EXPECT_TRUE(same_bits(read_k.view, want_k.view));
          EXPECT_TRUE(same_bits(read_v.view, want_v.view));
        }
      }
}

TEST(DenseKvCache, KeepsTheBitsOfItsOwnType) {
  for (const DType dtype : kAllDTypes) {
    TensorOf<std::uint32_t> raw({1, 20, 1, 20});
    const Dims strides = contiguous_strides(raw.view.extents);
    const AnyTensor given(raw.memory.data(), dtype, raw.view.extents, strides);
    for (std::size_t n = 0; n < raw.memory.size(); ++n)  // signalling NaN with payloads
      raw.memory[n] = 0x7F817C01u + static_cast<std::uint32_t>(n) * 0x10001u % 0x20000u;
    DenseKvCache cache({1, 1, 20, 20, 20, dtype});
    cache.append(given, given);
    const Stored k(given, dtype), v(given, dtype);
    cache.read(0, k.view, v.view);
    for (std::int64_t j = 0; j < 20; ++j)
      for (std::int64_t e = 0; e < 20; ++e) {
        EXPECT_EQ(element_bits(k.view, j, e), element_bits(given, j, e)) << name(dtype);
        EXPECT_EQ(element_bits(v.view, j, e), element_bits(given, j, e)) << name(dtype);
      }
  }
}

// Rounding and denormals do not depend on the caller.
TEST(DenseKvCache, AppendsInItsOwnFloatEnvironment) {
  const Tensor k = normal({1, 20, 1, 20}, 1, 1e-6f);
  for (const DType from : kAllDTypes)
    for (const DType to : kAllDTypes) {
      const Stored given(k.view, from), expected(k.view, to), got(k.view, to), other(k.view, to);
      DenseKvCache cache({1, 1, 20, 20, 20, to}), same({1, 1, 20, 20, 20, to});
      same.append(given.view, given.view);
      same.read(0, expected.view, other.view);
      const unsigned long before = float_control();
      set_float_control(before | kRoundUp | kFlushToZero);
      cache.append(given.view, given.view);
      set_float_control(before);
      cache.read(0, got.view, other.view);
      for (std::int64_t j = 0; j < 20; ++j)
        for (std::int64_t e = 0; e < 20; ++e)
          EXPECT_EQ(element_bits(got.view, j, e), element_bits(expected.view, j, e));
    }
}

TEST(DenseKvCache, TakesTheBytesOfItsType) {
  const auto bytes = [](DType dtype) { return DenseKvCache::bytes_of({2, 3, 5, 18, 600, dtype}); };
  EXPECT_EQ(bytes(DType::kF32), 4u * 2 * 3 * (5 + 32) * 608);
  EXPECT_EQ(bytes(DType::kBF16), bytes(DType::kF32) / 2);
  EXPECT_EQ(bytes(DType::kF16), bytes(DType::kF32) / 2);
  EXPECT_EQ(DenseKvCache({2, 3, 5, 18, 600, DType::kF16}).size_bytes(), bytes(DType::kF16));
}

TEST(DenseKvCache, ReadRefuses) {
  DenseKvCache cache({1, 2, 4, 4, 16});
  const Tensor one({1, 1, 2, 4}), narrow({1, 1, 2, 3});
  EXPECT_EQ(error_of([&] { cache.read(0, one.view, one.view); }),
            "DenseKvCache.read tokens: expected at most 0, got 1");
  EXPECT_EQ(error_of([&] { cache.read(1, one.view, one.view); }),
            "DenseKvCache.read sequence: expected 0 to 0, got 1");
  EXPECT_EQ(error_of([&] { cache.read(0, one.view, narrow.view); }),
            "DenseKvCache.read v: expected [1, 1, 2, 4], got [1, 1, 2, 3]");
}

}  // namespace
}  // namespace rapt::test
