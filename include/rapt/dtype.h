#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace rapt {

/// Element types of tensors and of caches; the last two are caches' alone, with a scale a token
/// and head.
enum class DType { kF32, kBF16, kF16, kInt8, kF8E4M3 };

inline constexpr int kDTypes = 3;      ///< of tensors, the first ones
inline constexpr int kCacheTypes = 5;  ///< of caches

/// Whether elements of the type are numbers only with a scale: a cache's types, and no tensor's.
constexpr bool is_quantised(DType dtype) { return dtype >= DType::kInt8; }

/// "f32", "bf16", "f16", "int8" or "fp8 e4m3".
const char* name(DType dtype) noexcept;

/// bfloat16: the upper half of an f32. Stored and converted, never computed in.
struct BF16 {
  std::uint16_t bits;
};

/// IEEE 754 binary16. Stored and converted, never computed in.
struct F16 {
  std::uint16_t bits;
};

/// FP8 E4M3, the variant without infinities: up to 448, NaN is 0x7F or 0xFF. Stored and converted,
/// never computed in. @source arXiv:2209.05433
struct F8E4M3 {
  std::uint8_t bits;
};

// Always inlined: the kernels of every instruction set use these, and may export no inline function.

/// The element's number as an f32, exactly; NaN for NaN.
[[gnu::always_inline]] constexpr float to_float(float x) { return x; }
[[gnu::always_inline]] constexpr float to_float(BF16 x) {
  return std::bit_cast<float>(std::uint32_t{x.bits} << 16);
}
[[gnu::always_inline]] constexpr float to_float(F16 x) {
  const std::uint32_t sign = (x.bits & 0x8000u) << 16, rest = x.bits & 0x7FFFu;
  if (rest >= 0x7C00u) return std::bit_cast<float>(sign | 0x7F800000u | (rest & 0x3FFu) << 13);
  // The exponent's bias is 112 more in f32, where denormals of f16 are none.
  const float magnitude = rest < 0x400u ? static_cast<float>(rest) * 0x1p-24f
                                        : std::bit_cast<float>((rest << 13) + (112u << 23));
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

[[gnu::always_inline]] constexpr float to_float(std::int8_t x) { return x; }
[[gnu::always_inline]] constexpr float to_float(F8E4M3 x) {
  const std::uint32_t sign = (x.bits & 0x80u) << 24, rest = x.bits & 0x7Fu;
  if (rest == 0x7Fu) return std::bit_cast<float>(sign | 0x7FC00000u);
  // The exponent's bias is 120 more in f32, where denormals of fp8 are none.
  const float magnitude = rest < 8 ? static_cast<float>(rest) * 0x1p-9f
                                   : std::bit_cast<float>((rest << 20) + (120u << 23));
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

/// The nearest number of the type, ties to even; infinity beyond the largest. NaN becomes the type's
/// quiet NaN without sign or payload.
/// @pre The rounding mode is to nearest.
/// @{
[[gnu::always_inline]] constexpr BF16 to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {0x7FC0};
  return {static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16)};
}
[[gnu::always_inline]] constexpr F16 to_f16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = bits >> 16 & 0x8000u, rest = bits & 0x7FFFFFFFu;
  if (rest > 0x7F800000u) return {0x7E00};
  if (rest >= 0x477FF000u) return {static_cast<std::uint16_t>(sign | 0x7C00u)};  // from 65520
  if (rest < 0x38800000u) {  // below 2^-14: the sum's last bit is 2^-24
    const float sum = std::bit_cast<float>(rest) + 0.5f;
    return {static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(sum) - 0x3F000000u))};
  }
  const std::uint32_t rounded = rest + 0xFFFu + (rest >> 13 & 1u);
  return {static_cast<std::uint16_t>(sign | (rounded - 0x38000000u) >> 13)};
}
[[gnu::always_inline]] constexpr F8E4M3 to_f8e4m3(float x) {  // 448 for what is larger
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = bits >> 24 & 0x80u, rest = bits & 0x7FFFFFFFu;
  if (rest > 0x7F800000u) return {0x7F};
  if (rest >= 0x43E00000u) return {static_cast<std::uint8_t>(sign | 0x7Eu)};  // from 448
  if (rest < 0x3C800000u) {  // below 2^-6: the sum's last bit is 2^-9
    const float sum = std::bit_cast<float>(rest) + 0x1p14f;
    return {static_cast<std::uint8_t>(sign | (std::bit_cast<std::uint32_t>(sum) - 0x46800000u))};
  }
  const std::uint32_t rounded = rest + 0x7FFFFu + (rest >> 20 & 1u);
  return {static_cast<std::uint8_t>(sign | (rounded - 0x3C000000u) >> 20)};
}
/// @}

/// to_bf16 or to_f16; x itself for float.
template <class T>
[[gnu::always_inline]] constexpr T from_float(float x) {
  if constexpr (std::is_same_v<T, BF16>)
    return to_bf16(x);
  else if constexpr (std::is_same_v<T, F16>)
    return to_f16(x);
  else
    return x;
}

/// x in another type, rounded once where that is narrower. The same type keeps its bits, those of
/// NaN too.
template <class To, class From>
[[gnu::always_inline]] constexpr To converted(From x) {
  if constexpr (std::is_same_v<To, From>)
    return x;
  else
    return from_float<To>(to_float(x));
}

/// f(T{}), T the C++ type of `dtype`, a tensor's: how everything dispatches on a type.
template <class F>
[[gnu::always_inline]] constexpr decltype(auto) with_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kBF16:
      return f(BF16{});
    case DType::kF16:
      return f(F16{});
    default:
      return f(0.0f);
  }
}

/// The same of any cache's type.
template <class F>
[[gnu::always_inline]] constexpr decltype(auto) with_cache_type(DType dtype, F&& f) {
  if (dtype == DType::kInt8) return f(std::int8_t{});
  if (dtype == DType::kF8E4M3) return f(F8E4M3{});
  return with_type(dtype, f);
}

/// Bytes of an element.
constexpr std::int64_t size_of(DType dtype) {
  return with_cache_type(dtype, [](auto x) { return static_cast<std::int64_t>(sizeof x); });
}

}  // namespace rapt
