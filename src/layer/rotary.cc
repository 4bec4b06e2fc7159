#include "rapt/rotary.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/elementary.h"
#include "base/float_env.h"
#include "base/rows.h"
#include "kernels/rotary/rotary.h"
#include "layer/rotary_scaling.h"
#include "layer/rotate.h"

namespace rapt {
namespace {

constexpr std::int64_t kTokensAtATime = 8;

void copy_features(const ConstTensor& x, const MutableTensor& y, std::int64_t t,
                   std::int64_t first) {
  for (std::int64_t h = 0; h < x.extents[2]; ++h)
    for (std::int64_t e = first; e < x.extents[3]; ++e) y.at(0, t, h, e) = x.at(0, t, h, e);
}

}  // namespace

Rotary::Rotary(const RotaryConfig& config) : config_(config) {
  const CanonicalFloatEnv env;
  check_rotary(config);
  RotaryFrequencies made = rotary_frequencies(config, 0);
  inv_freq_ = std::move(made.inv_freq);
  attention_factor_ = made.attention_factor;
}

std::vector<double> Rotary::inv_freq(std::int64_t length) const {
  if (!is_beyond(config_.scaling, length)) return inv_freq_;
  const CanonicalFloatEnv env;
  return rotary_frequencies(config_, length).inv_freq;
}

RotaryTable Rotary::table(const std::vector<std::int64_t>& positions,
                          const std::vector<std::int64_t>& lengths) const {
  RotaryTable table;
  update(positions, lengths, table);
  return table;
}

void Rotary::update(const std::vector<std::int64_t>& positions,
                    const std::vector<std::int64_t>& lengths, RotaryTable& table) const {
  if (table.config == config_ && table.positions == positions && table.lengths == lengths) return;
  const std::size_t sequences = std::max<std::size_t>(lengths.size(), 1);
  require(positions.size() % sequences == 0, ErrorCode::kBadShape, "Rotary.lengths",
          "a divisor of " + std::to_string(positions.size()) + " positions", lengths.size());
  const CanonicalFloatEnv env;
  RotaryTable made{config_, positions, lengths, {}, {}};  // where memory ends, `table` stays whole
  made.cos.reserve(positions.size() * inv_freq_.size());
  made.sin.reserve(positions.size() * inv_freq_.size());
  for (std::size_t n = 0; n < sequences; ++n)
    append_rows(std::span(positions).subspan(n * positions.size() / sequences,
                                             positions.size() / sequences),
                inv_freq(lengths.empty() ? 0 : lengths[n]), made);
  table = std::move(made);
}

void Rotary::append_rows(std::span<const std::int64_t> positions,
                         const std::vector<double>& inv_freq, RotaryTable& table) const {
  for (const std::int64_t position : positions)
    for (const double frequency : inv_freq) {
      const double angle =
          config_.precision == RotaryPrecision::kF64
              ? static_cast<double>(position) * frequency
              : double{static_cast<float>(position) * static_cast<float>(frequency)};
      const elementary::SinCos turn = elementary::sin_cos(angle);
      table.cos.push_back(static_cast<float>(turn.cos * attention_factor_));
      table.sin.push_back(static_cast<float>(turn.sin * attention_factor_));
    }
}

void check_rotated(const RotaryTable& table, const Dims& x, const char* function,
                   const char* view) {
  const std::int64_t tokens = x[0] * x[1];
  if (x[3] < 2 * table.pairs())
    require(false, ErrorCode::kBadShape, std::string(function) + "." + view,
            "a last extent of at least " + std::to_string(2 * table.pairs()), x);
  if (table.tokens() != tokens && table.tokens() != x[1])
    require(false, ErrorCode::kBadShape, std::string(function) + ".table",
            std::to_string(tokens) + " or " + std::to_string(x[1]) + " tokens", table.tokens());
}

void rotate_tokens(const RotaryTable& table, std::int64_t row, const ConstTensor& x,
                   const MutableTensor& y) {
  const RotaryKernels& kernels = rotary_kernels(active_isa());
  const bool half = table.config.style == RotaryStyle::kHalf;
  for (std::int64_t t = 0; t < x.extents[1]; ++t) {
    const std::int64_t angles = (row + t) * table.pairs();
    kernels.rotate({&x.at(0, t, 0, 0), x.strides[2], x.strides[3], &y.at(0, t, 0, 0), y.strides[2],
                    y.strides[3], x.extents[2], table.pairs(), half ? 1 : 2,
                    half ? table.pairs() : 1, table.cos.data() + angles,
                    table.sin.data() + angles});
    copy_features(x, y, t, 2 * table.pairs());
  }
}

void apply_rotary(const Threads& threads, const RotaryTable& table, const ConstTensor& x,
                  const MutableTensor& y) {
  check_rotated(table, x.extents, "apply_rotary", "x");
  require(y.extents == x.extents, ErrorCode::kBadShape, "apply_rotary.y", x.extents, y.extents);
  const Dims one = {1, 1, x.extents[2], x.extents[3]};
  const std::int64_t tokens = x.extents[0] * x.extents[1];
  for_rows(threads, tokens, kTokensAtATime, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t token = first; token < end; ++token) {
      const std::int64_t b = token / x.extents[1], t = token % x.extents[1];
      rotate_tokens(table, token % table.tokens(), {&x.at(b, t, 0, 0), one, x.strides},
                    {&y.at(b, t, 0, 0), one, y.strides});
    }
  });
}

}  // namespace rapt
