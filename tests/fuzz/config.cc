// config.json: read or refused, and what is read is a fixed point of its checks.

#include <string>

#include "rapt/model.h"
#include "target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  rapt::fuzz::read_or_refuse([&] {
    const std::string text(reinterpret_cast<const char*>(data), size);
    const rapt::ModelConfig config = rapt::ModelConfig::parse(text, "FILE");
    rapt::fuzz::expect(config.num_key_value_heads >= 1 && config.head_dim >= 1,
                       "defaults to be filled in");
    rapt::fuzz::expect(config.rms_norm_eps >= 0 && config.rope_theta >= 1, "numbers in range");
    rapt::fuzz::expect(config.context() >= config.max_position_embeddings, "a context");
    config.validated();
  });
  return 0;
}
