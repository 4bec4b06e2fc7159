#pragma once

// Attention as a loop, on purpose with at most one mistake: what audits must accuse, and what they
// must not.

#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "rapt/audit.h"
#include "util.h"

namespace rapt::test {

enum class Fault {
  kNone,
  kSoftmaxBeforeMask,   // hidden keys are in the sum
  kSoftcapAfterMask,    // cap tanh(-inf / cap) = -cap
  kSinkIsKeyZero,       // the sink's weight meets the value of key 0
  kZeroTimesHidden,     // weights of hidden keys are 0, and 0 times NaN is NaN
  kHeadsInterleaved,    // kv head h % Hkv
  kFirstSequenceOnly,   // every sequence reads the keys of the first
  kNoise,               // another result at every call
  kMaskedRowIsUniform,  // -1e30 in the place of -inf
  kEmptyLseIsZero,      // of a row that sees nothing
};

/// sees(b, h, i, j) is the mask that the loop has, right or wrong.
struct LoopAttention {
  VisiblePredicate sees;
  Fault fault = Fault::kNone;
  std::optional<float> softcap = {};
  float alibi_slope = 0;
  std::vector<float> sinks = {};
  bool bf16 = false;      // inputs, weights and outputs are rounded to it
  bool backward = false;  // sums from the last key to the first
  bool has_lse = true;
  mutable int calls = 0;

  void operator()(const Inputs& in, const Result& out) const {
    ++calls;
    for_each_index({in.q.extents[0], in.q.extents[1], in.q.extents[2], 1},
                   [&](auto b, auto i, auto h, auto) { row(in, b, h, i, out); });
  }

 private:
  static constexpr float kHidden = -std::numeric_limits<float>::infinity();

  float stored(float x) const {
    if (!bf16 || !std::isfinite(x)) return x;
    const std::uint32_t word = bits(x);
    const std::uint32_t rounded = (word + 0x7FFF + (word >> 16 & 1)) & 0xFFFF0000;
    float result;
    std::memcpy(&result, &rounded, sizeof result);
    return result;
  }

  float score(const Inputs& in, std::int64_t b, std::int64_t h, std::int64_t i,
              std::int64_t j) const {
    const std::int64_t kv = kv_head(in, h), sequence = fault == Fault::kFirstSequenceOnly ? 0 : b;
    const bool hidden = !sees(b, h, i, j) && fault != Fault::kSoftmaxBeforeMask;
    if (hidden && fault == Fault::kNone) return kHidden;
    float s = 0;
    for (std::int64_t e = 0; e < in.q.extents[3]; ++e)
      s += stored(in.q.at(b, i, h, e)) * stored(in.k.at(sequence, j, kv, e));
    s /= std::sqrt(static_cast<float>(in.q.extents[3]));
    if (hidden && fault == Fault::kSoftcapAfterMask) s = kHidden;
    if (softcap) s = *softcap * std::tanh(s / *softcap);
    s -= alibi_slope * static_cast<float>(std::abs(i - j));
    if (!hidden || fault == Fault::kSoftcapAfterMask) return s;
    return fault == Fault::kMaskedRowIsUniform ? -1e30f : kHidden;
  }

  std::int64_t kv_head(const Inputs& in, std::int64_t h) const {
    const std::int64_t heads = in.k.extents[2];
    return fault == Fault::kHeadsInterleaved ? h % heads : h / (in.q.extents[2] / heads);
  }

  void row(const Inputs& in, std::int64_t b, std::int64_t h, std::int64_t i,
           const Result& out) const {
    const std::int64_t keys = in.k.extents[1];
    const float sink = sinks.empty() ? kHidden : sinks[static_cast<std::size_t>(h)];
    std::vector<float> p;
    float max = sink;
    for (std::int64_t j = 0; j < keys; ++j) p.push_back(score(in, b, h, i, j));
    for (const float s : p)
      if (s > max || std::isnan(s)) max = s;
    const float sink_weight = sink == kHidden ? 0 : std::exp(sink - max);
    float sum = sink_weight;
    for (std::int64_t n = 0; n < keys; ++n) {
      float& weight = p[static_cast<std::size_t>(backward ? keys - 1 - n : n)];
      weight = weight == kHidden ? 0 : std::exp(weight - max);
      sum += weight;
    }
    if (fault == Fault::kSinkIsKeyZero) p[0] += sink_weight;
    for (std::int64_t e = 0; e < in.v.extents[3]; ++e)
      out.o.set(b, i, h, e, sum == 0 ? 0 : stored(output(in, b, h, i, e, p) / sum));
    if (!has_lse) return;
    const bool empty = sum == 0 && fault == Fault::kEmptyLseIsZero;
    out.lse.at(0, b, h, i) = empty ? 0 : max + std::log(sum);
  }

  float output(const Inputs& in, std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t e,
               const std::vector<float>& p) const {
    const std::int64_t kv = kv_head(in, h), sequence = fault == Fault::kFirstSequenceOnly ? 0 : b;
    const std::int64_t keys = in.k.extents[1];
    float o = fault == Fault::kNoise ? 1e-3f * static_cast<float>(calls) : 0;
    for (std::int64_t n = 0; n < keys; ++n) {
      const std::int64_t j = backward ? keys - 1 - n : n;
      const float weight = p[static_cast<std::size_t>(j)];
      const bool masked_late = fault == Fault::kSoftmaxBeforeMask && !sees(b, h, i, j);
      if (masked_late || (weight == 0 && fault != Fault::kZeroTimesHidden)) continue;
      o += stored(weight) * stored(in.v.at(sequence, j, kv, e));
    }
    return o;
  }
};

}  // namespace rapt::test
