#include "model/families.h"

#include <algorithm>

#include "model/families/all.h"

namespace rapt {
namespace {

constexpr const Family* kFamilies[] = {
    &kLlama, &kMistral, &kQwen2,   &kQwen3, &kOlmo2, &kGemma2, &kGemma3,
    &kPhi3,  &kGpt2,    &kGptNeoX, &kBloom, &kT5,    &kBart,   &kMarian,
};

}  // namespace

const Family* find_family(const std::string& architecture) {
  const auto found = std::ranges::find_if(
      kFamilies, [&](const Family* family) { return architecture == family->architecture; });
  return found == std::end(kFamilies) ? nullptr : *found;
}

std::string family_names() {
  std::string names;
  for (const Family* family : kFamilies)
    names += (names.empty() ? "" : ", ") + std::string(family->architecture);
  return names;
}

}  // namespace rapt
