#pragma once

#include "model/json.h"
#include "rapt/model.h"

namespace rapt {

/// Reads what a config.json says of rotary positions, in either form: rope_theta and rope_scaling
/// beside each other, or all in rope_parameters, as transformers 5 writes it. What is inside goes
/// before what is beside it.
/// @pre    `config` has what the other fields of `root` say.
void read_rotary(const JsonField& root, ModelConfig& config);

}  // namespace rapt
