#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rapt/rotary_scaling.h"
#include "rapt/tensor.h"
#include "rapt/threads.h"

namespace rapt {

/// Which two features of a head make the pair i that is rotated.
enum class RotaryStyle {
  kHalf,         ///< i and i + R/2 (GPT-NeoX, Hugging Face)
  kInterleaved,  ///< 2i and 2i + 1 (GPT-J, Meta's Llama)
};

/// What inverse frequencies and angles are computed in.
enum class RotaryPrecision {
  kF32,  ///< as checkpoints were trained: at position p an angle is good to p 2^-23
  kF64,  ///< exact tables
};

/// What a table is made of, besides positions.
struct RotaryConfig {
  std::int64_t dims = 0;  ///< R, the number of leading features of a head that are rotated
  double theta = 10000.0;
  RotaryStyle style = RotaryStyle::kHalf;
  RotaryScaling scaling = {};
  RotaryPrecision precision = RotaryPrecision::kF32;
  bool operator==(const RotaryConfig&) const = default;
};

/// cos and sin of every token's angles; shared by all heads, and by all layers of a model.
struct RotaryTable {
  RotaryConfig config;
  std::vector<std::int64_t> positions;  ///< [tokens]
  std::vector<std::int64_t> lengths;    ///< [sequences]
  std::vector<float> cos, sin;          ///< [tokens, pairs]

  std::int64_t tokens() const { return static_cast<std::int64_t>(positions.size()); }
  std::int64_t pairs() const { return config.dims / 2; }  ///< R / 2
};

/// Rotary positions: pair i of a token at `position` turns by the angle position f_i.
///
/// In f32, inverse frequencies have the bits that transformers gets from torch on a CPU with
/// AVX-512, where torch does not call the C library's powf (src/layer/rotary_power.h), and angles
/// are f32(position) f_i. cos and sin of that angle are computed in f64 by this library, never by
/// the C library's, multiplied by the scaling's attention factor and rounded once.
///
/// In f64, without scaling, an element of the table is off by at most 2^-25 + |position| 2^-51.
///
/// Positions are any numbers below 2^30 in size: slots, chunks of a prompt, rows of a padded batch.
///
/// @source arXiv:2104.09864
class Rotary {
 public:
  /// @throws Error{kBadArgument} naming the field of `config` out of range.
  explicit Rotary(const RotaryConfig& config);
  explicit Rotary(std::int64_t dims, double theta = 10000.0, RotaryStyle style = RotaryStyle::kHalf)
      : Rotary(RotaryConfig{dims, theta, style, {}, RotaryPrecision::kF32}) {}

  const RotaryConfig& config() const { return config_; }
  std::int64_t dims() const { return config_.dims; }

  /// f [pairs] for sequences of `length` tokens; of f32 values in that precision.
  std::vector<double> inv_freq(std::int64_t length = 0) const;

  /// Angles of tokens at `positions`, which may be in any order.
  ///
  /// `lengths` are what dynamic NTK and LongRoPE scale for: the tokens that each sequence is made
  /// to hold in the end, said before its first token is rotated, so that all its keys and queries
  /// have the same frequencies. No other kind looks at them; none, or 0, is a sequence within
  /// the original context. Sequences have positions.size() / lengths.size() tokens each.
  /// @throws Error{kBadShape} unless that is a whole number.
  RotaryTable table(const std::vector<std::int64_t>& positions,
                    const std::vector<std::int64_t>& lengths = {}) const;

  /// Makes `table` that of `positions` and `lengths`. Where it already is, as in every layer after
  /// the first, nothing is computed.
  void update(const std::vector<std::int64_t>& positions, const std::vector<std::int64_t>& lengths,
              RotaryTable& table) const;

 private:
  void append_rows(std::span<const std::int64_t> positions, const std::vector<double>& inv_freq,
                   RotaryTable& table) const;

  RotaryConfig config_;
  std::vector<double> inv_freq_;  // of sequences within the original context
  double attention_factor_;
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
