#include "model/families/all.h"
#include "model/families/llama.h"
#include "model/rotary_fields.h"

namespace rapt {
namespace {

/// Mistral: Llama whose queries see the last `sliding_window` tokens, their own included; null, as
/// in later versions, is no window. @source arXiv:2310.06825
void read(ConfigFields& fields, ModelConfig& config) {
  read_extents(fields, config);
  config.num_key_value_heads = fields.extent("num_key_value_heads");  // no default is safe
  config.rms_norm_eps = fields.number("rms_norm_eps", 1e-6);
  read_activation(fields, "hidden_act", config);
  read_rotary(fields, config);
  set_windows(config, std::vector<bool>(config.num_hidden_layers, true), read_window(fields, 4096));
}

}  // namespace

const Family kMistral = {"MistralForCausalLM", "mistral", read, llama_ends, llama_block, true};

}  // namespace rapt
