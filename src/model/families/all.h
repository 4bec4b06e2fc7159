#pragma once

#include "model/families.h"

namespace rapt {

// Each in the file of its name.
extern const Family kLlama, kMistral, kQwen2, kQwen3, kOlmo2, kGemma2, kGemma3, kPhi3, kGpt2,
    kGptNeoX, kBloom, kT5, kBart, kMarian;

}  // namespace rapt
