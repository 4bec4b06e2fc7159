#pragma once

#include <cstdint>
#include <string>

#include "cases.h"

namespace rapt::test {

/// Four query heads that share two kv heads.
inline AttentionCase grouped_case(const std::string& mask, std::int64_t queries,
                                  std::int64_t keys) {
  AttentionCase c;
  c.q_tokens = queries;
  c.kv_tokens = keys;
  c.q_heads = 4;
  c.kv_heads = 2;
  c.head_dim = 24;
  c.v_head_dim = 40;
  c.mask = &mask_named(mask);
  return c;
}

inline std::string explained(const AttentionCase& c, const std::string& name) {
  return make_plan(c.problem(), Threads(c.threads), c.source).explain(name);
}

}  // namespace rapt::test
