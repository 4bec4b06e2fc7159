#pragma once

namespace rapt {

/// How products are computed.
enum class Arithmetic {
  /// In f32, whatever the numbers are stored in: a chain of fma over single elements.
  kF32,

  /// On pairs of bf16 with sums in f32, as VDPBF16PS multiplies them: the odd element of a pair, then
  /// the even one, denormals flushed to zero. Attention rounds its weights p to bf16, linear maps their
  /// input. For speed where the CPU has the instruction; elsewhere the same bits (docs/numerics.md,
  /// "Native bf16").
  kNativeBF16,
};

/// "f32" or "native bf16".
const char* name(Arithmetic arithmetic) noexcept;

}  // namespace rapt
