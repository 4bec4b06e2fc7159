#pragma once

// Values that nothing hidden may let through, and what they may not reach.

#include <gtest/gtest.h>

#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cases.h"

namespace rapt::test {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kHuge = std::numeric_limits<float>::max();
inline constexpr float kPoisons[] = {kNan, kInfinity, -kInfinity, kHuge, -kHuge, 1e-40f};

/// All of them for the best instruction set; the others have its bits, so that two will do.
inline std::span<const float> poisons_for(Isa isa) {
  return isa == supported_isas().front() ? std::span(kPoisons) : std::span(kPoisons).first(2);
}

/// Causal and windowed problems whose tiles are full, partial, diagonal and skipped.
inline AttentionCase long_case(const std::string& mask) {
  AttentionCase c;
  c.q_tokens = c.kv_tokens = 1100;
  c.q_heads = 2;
  c.head_dim = 6;
  c.v_head_dim = 19;
  c.mask = &mask_named(mask);
  return c;
}

/// Every instruction set with every storage type.
inline std::vector<std::pair<Isa, DType>> isas_and_dtypes() {
  std::vector<std::pair<Isa, DType>> pairs;
  for (const Isa isa : supported_isas())
    for (const DType dtype : kAllDTypes) pairs.emplace_back(isa, dtype);
  return pairs;
}

/// Where `poisoned` may differ from `clean`: rows that see a token of `hot`, no other.
inline void expect_others_clean(const AttentionCase& c, const Outputs& clean,
                                const Outputs& poisoned, const std::vector<std::int64_t>& hot) {
  const Problem p = c.problem();
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t i = 0; i < p.q_tokens; ++i) {
      for (std::int64_t h = 0; h < p.q_heads; ++h) {
        bool sees = false;
        for (const std::int64_t j : hot)
          sees |= reference_visible(p, c.mask->reference, b, h, i, j);
        if (sees) continue;
        for (std::int64_t e = 0; e < p.value_dim(); ++e)
          ASSERT_EQ(bits(poisoned.o.view.at(b, i, h, e)), bits(clean.o.view.at(b, i, h, e)))
              << "query " << i << ", head " << h << ", feature " << e;
        for (const auto& [x, y] : {std::pair{&poisoned.lse, &clean.lse},
                                   {&poisoned.m, &clean.m},
                                   {&poisoned.l, &clean.l}})
          ASSERT_EQ(bits(x->view.at(0, b, h, i)), bits(y->view.at(0, b, h, i))) << "query " << i;
      }
    }
}

inline void poison_token(const MutableTensor& t, std::int64_t token, float poison) {
  fill(tokens(t, token, 1), poison);
}

}  // namespace rapt::test
