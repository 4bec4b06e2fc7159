#pragma once

// The mask list of the tests: every kind, and compositions, in two descriptions that share no code.

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "attention/reference.h"
#include "rapt/mask.h"

namespace rapt::test {

/// One mask in both descriptions: the library's, made for a problem, and the reference's own.
struct NamedMask {
  const char* name;
  std::function<Mask(const Problem&)> make;
  ReferenceMask reference;
  bool of_tokens = false;  ///< defined by token or by sequence: another batch has another mask
};

/// Every mask of the tests; the first are bands of diagonals.
const std::vector<NamedMask>& masks();

/// None, causal, windows of one side and of two, and their composition.
std::span<const NamedMask> bands();

const NamedMask& mask_named(const std::string& name);

}  // namespace rapt::test
