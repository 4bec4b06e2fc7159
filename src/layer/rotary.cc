#include "rapt/rotary.h"

#include <string>
#include <utility>

#include "base/check.h"
#include "base/elementary.h"
#include "base/float_env.h"
#include "base/rows.h"
#include "kernels/rotary/rotary.h"

namespace rapt {
namespace {

constexpr std::int64_t kTokensAtATime = 8;

void copy_features(const ConstTensor& x, const MutableTensor& y, std::int64_t b, std::int64_t t,
                   std::int64_t first) {
  for (std::int64_t h = 0; h < x.extents[2]; ++h)
    for (std::int64_t e = first; e < x.extents[3]; ++e) y.at(b, t, h, e) = x.at(b, t, h, e);
}

}  // namespace

Rotary::Rotary(std::int64_t dims, double theta, RotaryStyle style) : style_(style) {
  require(dims > 0 && dims % 2 == 0, ErrorCode::kBadArgument, "Rotary.dims",
          "a positive even number", dims);
  require(theta > 0, ErrorCode::kBadArgument, "Rotary.theta", "a positive number", theta);
  const CanonicalFloatEnv env;
  inv_freq_.resize(dims / 2);
  for (std::int64_t i = 0; i < dims / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dims);
    inv_freq_[i] = 1.0f / static_cast<float>(elementary::pow(theta, exponent));
  }
}

RotaryTable Rotary::table(const std::vector<std::int64_t>& positions) const {
  RotaryTable table;
  update(positions, table);
  return table;
}

void Rotary::update(const std::vector<std::int64_t>& positions, RotaryTable& table) const {
  if (table.style == style_ && table.positions == positions && table.inv_freq == inv_freq_) return;
  const CanonicalFloatEnv env;
  RotaryTable made{style_, positions, inv_freq_, {}, {}};  // where memory ends, `table` stays whole
  made.cos.reserve(positions.size() * inv_freq_.size());
  made.sin.reserve(positions.size() * inv_freq_.size());
  for (std::int64_t position : positions)
    for (float frequency : inv_freq_) {
      const float angle = static_cast<float>(position) * frequency;
      const elementary::SinCos turn = elementary::sin_cos(angle);
      made.cos.push_back(static_cast<float>(turn.cos));
      made.sin.push_back(static_cast<float>(turn.sin));
    }
  table = std::move(made);
}

void apply_rotary(const Threads& threads, const RotaryTable& table, const ConstTensor& x,
                  const MutableTensor& y) {
  const std::int64_t tokens = x.extents[0] * x.extents[1];
  require(x.extents[3] >= 2 * table.pairs(), ErrorCode::kBadShape, "apply_rotary.x",
          "a last extent of at least " + std::to_string(2 * table.pairs()), x.extents);
  require(table.tokens() == tokens || table.tokens() == x.extents[1], ErrorCode::kBadShape,
          "apply_rotary.table",
          std::to_string(tokens) + " or " + std::to_string(x.extents[1]) + " tokens",
          table.tokens());
  require(y.extents == x.extents, ErrorCode::kBadShape, "apply_rotary.y", x.extents, y.extents);
  const RotaryKernels& kernels = rotary_kernels(active_isa());
  const bool half = table.style == RotaryStyle::kHalf;
  for_rows(threads, tokens, kTokensAtATime, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t token = first; token < end; ++token) {
      const std::int64_t b = token / x.extents[1], t = token % x.extents[1];
      const std::int64_t row = token % table.tokens() * table.pairs();
      kernels.rotate({&x.at(b, t, 0, 0), x.strides[2], x.strides[3], &y.at(b, t, 0, 0),
                      y.strides[2], y.strides[3], x.extents[2], table.pairs(), half ? 1 : 2,
                      half ? table.pairs() : 1, table.cos.data() + row, table.sin.data() + row});
      copy_features(x, y, b, t, 2 * table.pairs());
    }
  });
}

}  // namespace rapt
