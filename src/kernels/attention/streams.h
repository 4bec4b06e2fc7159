#pragma once

// How each instruction set reads a stream of keys and values. It shows in no bit; docs/performance.md
// has the measurements.

#include "kernels/product/fetch.h"

namespace rapt {

/// Keys, for so many rows of a tile: groups of 16 keys side by side.
struct KeyStream {
  int groups;
  Fetch fetch;
};

/// Values, for so many rows of a register tile: all features of so many keys, an even
/// number, then of the next.
struct ValueStream {
  int keys;
  Fetch fetch;
};

/// A stream whose elements have so many bytes, for few rows and for more.
struct StreamTuning {
  int few_key_rows;
  KeyStream few_keys, keys;
  int few_value_rows;
  ValueStream few_values, values;
};

// static: no function may be left over as a weak symbol with an instruction set's code.

namespace avx2 {
static constexpr StreamTuning stream_tuning(int element_bytes) {
  constexpr Fetch kL1{FetchTo::kL1, 10 << 10}, kL2{FetchTo::kL2, 16 << 10};
  // Of smaller types one group's chain of sums is slower than memory, of bytes two groups' too.
  if (element_bytes == 1) return {2, {4, kL1}, {1, kL2}, 2, {8, kL1}, {16, kL2}};
  if (element_bytes < 4) return {2, {2, kL1}, {1, kL2}, 2, {4, kNoFetch}, {16, kL2}};
  return {6, {1, kNoFetch}, {1, kL2}, 2, {2, kNoFetch}, {16, kL2}};
}
}  // namespace avx2

namespace avx512 {
static constexpr StreamTuning stream_tuning(int) {
  constexpr Fetch kL1{FetchTo::kL1, 10 << 10};
  return {2, {1, kNoFetch}, {1, kL1}, 2, {2, kNoFetch}, {16, kL1}};
}
}  // namespace avx512

namespace avx512bf16 {
static constexpr StreamTuning stream_tuning(int) {
  return avx512::stream_tuning(2);
}  // not measured
}  // namespace avx512bf16

namespace neon {
static constexpr StreamTuning stream_tuning(int) {
  return avx512::stream_tuning(4);
}  // not measured
}  // namespace neon

namespace scalar {
static constexpr StreamTuning stream_tuning(int) {
  return {2, {1, kNoFetch}, {1, kNoFetch}, 2, {2, kNoFetch}, {16, kNoFetch}};
}
}  // namespace scalar

}  // namespace rapt
