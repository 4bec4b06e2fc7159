#include "model/families.h"

namespace rapt {
namespace {

constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", make_llama},
};

}  // namespace

const Family* find_family(const std::string& architecture) {
  for (const Family& family : kFamilies)
    if (architecture == family.architecture) return &family;
  return nullptr;
}

std::string family_names() {
  std::string names;
  for (const Family& family : kFamilies)
    names += (names.empty() ? "" : ", ") + std::string(family.architecture);
  return names;
}

}  // namespace rapt
