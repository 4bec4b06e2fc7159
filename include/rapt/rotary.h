#pragma once

#include <cstdint>
#include <vector>

#include "rapt/tensor.h"
#include "rapt/threads.h"

namespace rapt {

/// Which two features of a head make the pair i that is rotated.
enum class RotaryStyle {
  kHalf,         ///< i and i + R/2 (GPT-NeoX, Hugging Face)
  kInterleaved,  ///< 2i and 2i + 1 (GPT-J, Meta's Llama)
};

/// cos and sin of every token's angles; shared by all heads, and by all layers of a model.
struct RotaryTable {
  RotaryStyle style = RotaryStyle::kHalf;
  std::vector<std::int64_t> positions;  ///< [tokens]
  std::vector<float> inv_freq;          ///< [pairs]
  std::vector<float> cos, sin;          ///< [tokens, pairs]

  std::int64_t tokens() const { return static_cast<std::int64_t>(positions.size()); }
  std::int64_t pairs() const { return static_cast<std::int64_t>(inv_freq.size()); }  ///< R / 2
};

/// Rotary positions: pair i of a token at `position` turns by the angle position theta^(-2i/R).
///
/// Inverse frequencies and angles are f32, as checkpoints were trained:
/// inv_freq_i = 1 / f32(theta^f32(2i / R)), angle = f32(position) inv_freq_i; cos and sin of that
/// angle are computed in f64 by this library, never by the C library's, and rounded once.
///
/// @source arXiv:2104.09864
class Rotary {
 public:
  /// `dims` is R, the number of leading features of a head that are rotated.
  /// @throws Error{kBadArgument} if `dims` is odd or not positive, or theta is not positive.
  explicit Rotary(std::int64_t dims, double theta = 10000.0,
                  RotaryStyle style = RotaryStyle::kHalf);

  std::int64_t dims() const { return 2 * static_cast<std::int64_t>(inv_freq_.size()); }
  const std::vector<float>& inv_freq() const { return inv_freq_; }

  /// Angles of tokens at `positions`, which may be in any order.
  RotaryTable table(const std::vector<std::int64_t>& positions) const;

  /// Makes `table` that of `positions`. Where it already is, as in every layer after the first,
  /// nothing is computed.
  void update(const std::vector<std::int64_t>& positions, RotaryTable& table) const;

 private:
  RotaryStyle style_;
  std::vector<float> inv_freq_;
};

/// Rotates the leading 2 `table.pairs` features of every head; copies the others.
///
///     y_0 = fma(x_0, cos, -(x_1 sin))      y_1 = fma(x_1, cos, x_0 sin)
///
/// @shape  x, y [B, T, H, D], views of any strides; y may be x. Token (b, t) is row b T + t of
///         the table; a table of T tokens serves every b.
/// @throws Error{kBadShape} naming the view.
void apply_rotary(const Threads& threads, const RotaryTable& table, const ConstTensor& x,
                  const MutableTensor& y);

}  // namespace rapt
