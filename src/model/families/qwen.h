#pragma once

#include "model/families.h"

namespace rapt {

/// The fields that Qwen 2 and 3 share, in qwen2.cc. A head_dim that is absent is this, or 0 for
/// hidden_size / num_attention_heads.
void read_qwen(ConfigFields& fields, ModelConfig& config, std::int64_t head_dim);

}  // namespace rapt
