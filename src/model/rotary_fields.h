#pragma once

#include "model/config_fields.h"

namespace rapt {

/// What transformers reads of a family's rotary positions.
struct RotaryForm {
  /// Whether partial_rotary_factor is served: in other families only 1 is.
  bool partial = false;

  /// Whether LongRoPE's original_max_position_embeddings must be beside its object: transformers
  /// does not look inside, but takes 4,096.
  bool original_beside = false;
};

/// rope_theta, partial_rotary_factor, and rope_scaling or rope_parameters (the older and the newer
/// form), as rope_theta, partial_rotary_factor and rope_scaling of `config`.
void read_rotary(ConfigFields& fields, ModelConfig& config, const RotaryForm& form = {});

/// The same of one object like rope_parameters.
void read_rotary_object(const JsonField& object, const JsonField& root, ModelConfig& config,
                        const RotaryForm& form = {});

}  // namespace rapt
