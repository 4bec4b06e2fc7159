#pragma once

#include <bit>
#include <cstdint>

#include "kernels/native/pack_inl.h"
#include "kernels/native/pairs_inl.h"
#include "simd/test/operations.h"

namespace rapt::RAPT_ISA {
namespace {

template <F32x16 (*kF)(F32x16)>
void unary(const float* a, const float*, const float*, float* out) noexcept {
  store(out, kF(load(a)));
}
template <F32x16 (*kF)(F32x16, F32x16)>
void binary(const float* a, const float* b, const float*, float* out) noexcept {
  store(out, kF(load(a), load(b)));
}
template <Mask16 (*kF)(F32x16, F32x16)>
void compare(const float* a, const float* b, const float* c, float* out) noexcept {
  store(out, select(kF(load(a), load(b)), load(b), load(c)));
}
template <I32x16 (*kF)(I32x16)>
void unary_int(const float* a, const float*, const float*, float* out) noexcept {
  store(out, as_float(kF(as_int(load(a)))));
}
template <I32x16 (*kF)(I32x16, I32x16)>
void binary_int(const float* a, const float* b, const float*, float* out) noexcept {
  store(out, as_float(kF(as_int(load(a)), as_int(load(b)))));
}
template <float (*kF)(F32x16)>
void reduce(const float* a, const float*, const float*, float* out) noexcept {
  *out = kF(load(a));
}

inline void fma_of(const float* a, const float* b, const float* c, float* out) noexcept {
  store(out, fma(load(a), load(b), load(c)));
}
inline void unaligned(const float* a, const float*, const float*, float* out) noexcept {
  store(out + 3, load(a + 1));
}
template <class T>
void load_of(const float* a, const float*, const float*, float* out) noexcept {
  const T* from = reinterpret_cast<const T*>(a);
  store(out, load(from));
  store(out + 16, in_order<T>(load_unordered(from)));
  F32x16 registers = zero();
  for (int i = 0; i < 16 / kRegisterLanes; ++i)
    set_register(registers, i, load_unordered_register(from, i));
  store(out + 32, in_order<T>(registers));
}
/// What the NaN of F8E4M3 becomes is not said: it is left out.
inline void load_of_f8(const float* a, const float* b, const float* c, float* out) noexcept {
  F8E4M3 numbers[16];
  __builtin_memcpy(numbers, a, sizeof numbers);
  for (F8E4M3& x : numbers)
    if ((x.bits & 0x7F) == 0x7F) x.bits = 0;
  load_of<F8E4M3>(reinterpret_cast<const float*>(numbers), b, c, out);
}
template <class T>
void store_of(const float* a, const float*, const float*, float* out) noexcept {
  store(reinterpret_cast<T*>(out), load(a));
}
inline void broadcasts(const float* a, const float*, const float*, float* out) noexcept {
  store(out, broadcast(*a));
  store(out + 16, as_float(broadcast_int(std::bit_cast<std::int32_t>(*a))));
  store(out + 32, zero());
}
inline void zero_unless_equal(const float* a, const float* b, const float* c, float* out) noexcept {
  store(out, zero_unless(equal(load(a), load(b)), load(c)));
}
inline void all_of(const float* a, const float* b, const float*, float* out) noexcept {
  out[0] = all(equal(load(a), load(b)));
  out[1] = all(lanes_of(0xFFFF));
  for (int i = 0; i < 16; ++i) out[2 + i] = all(lanes_of(0xFFFFu & ~(1u << i)));
}
inline void to_float_of(const float* a, const float*, const float*, float* out) noexcept {
  store(out, to_float(as_int(load(a))));
}
/// Lanes of every single bit, of patterns, and of bits beyond the sixteenth; a set bit a lane.
inline void lanes(const float*, const float*, const float*, float* out) noexcept {
  constexpr std::uint32_t kPatterns[] = {0, 0xFFFF, 0x5555, 0xAAAA, 0x00FF, 0xFF00, 0xFFFF0001};
  const auto write = [&](std::uint32_t pattern) {
    float lane[16], bits = 0;
    store(lane, zero_unless(lanes_of(pattern), broadcast(1.0f)));
    for (int i = 0; i < 16; ++i) bits = 2 * bits + lane[i];
    *out++ = bits;
  };
  for (int i = 0; i < 16; ++i) write(1u << i);
  for (const std::uint32_t pattern : kPatterns) write(pattern);
}
inline void transpose(const float* a, const float*, const float*, float* out) noexcept {
  transpose16x8(a, 8, out);
}
inline void registers(const float* a, const float* b, const float* c, float* out) noexcept {
  F32x16 result = load(c);
  const F32x16 x = load(a);
  for (int i = 0; i < 16 / kRegisterLanes; ++i) {
    Register acc = register_of(result, i);
    accumulate(acc, register_of(x, i), broadcast_register(*b));
    set_register(result, i, acc);
  }
  store(out, result);
}

/// The pair of b at its lane 0 with the pairs of a, added to c: neighbours, apart, halves of them.
template <Half kHalf>
[[gnu::noinline]] void pairs_of(const float* a, const float* b, const float* c, float* out) {
  const BF16* lanes = reinterpret_cast<const BF16*>(a);
  PairItem pair[2];
  for (int e = 0; e < 2; ++e) pair[e] = converted<PairItem>(reinterpret_cast<const BF16*>(b)[e]);
  const auto chain = [&](auto operand, float* to) {
    F32x16 acc[1][1] = {{load(c)}};
    constexpr std::int64_t kBegin = kHalf == Half::kOdd, kEnd = kHalf == Half::kEven ? 1 : 2;
    product<FetchTo::kNone>({pair, 2}, operand, {kBegin, kEnd}, acc);
    store(to, acc[0][0]);
  };
  chain(PairLanes<false>{lanes, 32, 32, 0}, out);
  chain(PairLanes<true>{lanes, 16, 32, 16}, out + 16);
}
template <Half kHalf>
void dot_pairs(const float* a, const float* b, const float* c, float* out) noexcept {
  float flushed[16];  // as sums of pairs are
  for (int i = 0; i < 16; ++i) flushed[i] = __builtin_fabsf(c[i]) < 0x1p-126f ? 0.0f : c[i];
  const FlushedDenormals environment;
  pairs_of<kHalf>(a, b, flushed, out);
}

constexpr SimdOperation kOperations[] = {
    {"load, store", unaligned},
    {"load of BF16", load_of<BF16>},
    {"load of F16", load_of<F16>, true},
    {"load of int8", load_of<std::int8_t>},
    {"load of F8E4M3", load_of_f8},
    {"store of BF16", store_of<BF16>},
    {"store of F16", store_of<F16>},
    {"broadcast, zero", broadcasts},
    {"fma", fma_of, true},
    {"add", binary<add>, true},
    {"sub", binary<sub>, true},
    {"mul", binary<mul>, true},
    {"div", binary<div>, true},
    {"sqrt", unary<sqrt>, true},
    {"max", binary<max>},
    {"min", binary<min>},
    {"ceil", unary<ceil>, true},
    {"less, select", compare<less>},
    {"not_less, select", compare<not_less>},
    {"equal, select", compare<equal>},
    {"zero_unless", zero_unless_equal},
    {"lanes_of", lanes},
    {"all", all_of},
    {"add of integers", binary_int<add>},
    {"sub of integers", binary_int<sub>},
    {"bit_and", binary_int<bit_and>},
    {"bit_or", binary_int<bit_or>},
    {"shift_left<1>", unary_int<shift_left<1>>},
    {"shift_left<23>", unary_int<shift_left<23>>},
    {"shift_right<1>", unary_int<shift_right<1>>},
    {"shift_right<23>", unary_int<shift_right<23>>},
    {"to_float", to_float_of},
    {"reduce_max", reduce<reduce_max>},
    {"reduce_add", reduce<reduce_add>, true},
    {"transpose16x8", transpose},
    {"registers", registers, true},
    {"pairs", dot_pairs<Half::kBoth>, true},
    {"even halves of pairs", dot_pairs<Half::kEven>, true},
    {"odd halves of pairs", dot_pairs<Half::kOdd>, true},
};

}  // namespace
}  // namespace rapt::RAPT_ISA
