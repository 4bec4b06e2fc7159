#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

namespace rapt {

// How rotary positions serve sequences longer than those of training: each kind is a rule that
// makes other inverse frequencies f'_i of the plain ones, f_i = theta^(-2i/R), and may multiply cos
// and sin by an attention factor a. Fields are those of Hugging Face's config.json.

/// Linear: f' = f / factor, as if positions were divided. @source arXiv:2306.15595
struct LinearScaling {
  double factor = 1.0;  ///< at least 1
  bool operator==(const LinearScaling&) const = default;
};

/// Dynamic NTK: a larger theta where a sequence of L tokens is longer than `original_context`, C:
///
///     theta' = theta (factor L / C - (factor - 1))^(R / (R - 2))
///
/// @source arXiv:2309.00071, B.1 (first told by bloc97 and emozilla, 2023)
struct DynamicNtkScaling {
  double factor = 1.0;                ///< at least 1
  std::int64_t original_context = 0;  ///< C, tokens
  bool operator==(const DynamicNtkScaling&) const = default;
};

/// YaRN: pairs that turn more than `beta_fast` times in the original context stay, those below
/// `beta_slow` are divided by `factor`, those between are mixed by a ramp over the pairs.
///
///     f'_i = (f_i / factor) ramp_i + f_i (1 - ramp_i)
///     a = m(1), or m(mscale) / m(mscale_all_dim) where both are set;  m(w) = 0.1 w ln(factor) + 1
///
/// @source arXiv:2309.00071, 3
struct YarnScaling {
  double factor = 1.0;                ///< at least 1
  std::int64_t original_context = 0;  ///< tokens
  double beta_fast = 32.0, beta_slow = 1.0;
  bool truncate = true;                   ///< the ramp begins and ends at whole pairs
  double mscale = 0, mscale_all_dim = 0;  ///< 0: not set
  std::optional<double> attention_factor = std::nullopt;  ///< in place of the formula for a
  bool operator==(const YarnScaling&) const = default;
};

/// Llama 3: pairs of wavelength 2 pi / f below C / high_freq_factor stay, those above
/// C / low_freq_factor are divided by `factor`, those between are mixed. C: `original_context`.
/// @source arXiv:2407.21783 (the model); its code has the formula
struct Llama3Scaling {
  double factor = 1.0;  ///< at least 1
  double low_freq_factor = 1.0, high_freq_factor = 4.0;
  std::int64_t original_context = 0;  ///< tokens
  bool operator==(const Llama3Scaling&) const = default;
};

/// LongRoPE: f'_i = f_i / e_i with a list e for sequences of up to `original_context` tokens, C, and
/// another for longer ones.
///
///     a = sqrt(1 + ln(factor) / ln C)
///
/// @source arXiv:2402.13753
struct LongRopeScaling {
  std::vector<double> short_factor, long_factor;          ///< [pairs]
  double factor = 1.0;                                    ///< context / C; for a alone
  std::int64_t original_context = 0;                      ///< C, tokens
  std::optional<double> attention_factor = std::nullopt;  ///< in place of the formula for a
  bool operator==(const LongRopeScaling&) const = default;
};

/// One of them, or none.
using RotaryScaling = std::variant<std::monostate, LinearScaling, DynamicNtkScaling, YarnScaling,
                                   Llama3Scaling, LongRopeScaling>;

/// The name that config.json has for a kind: "default", "linear", "dynamic", "yarn", "llama3",
/// "longrope".
const char* name(const RotaryScaling& scaling);

}  // namespace rapt
