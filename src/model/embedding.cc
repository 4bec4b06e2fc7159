#include "model/embedding.h"

#include "base/float_env.h"
#include "model/decoder_block.h"

namespace rapt {

void embed(const DecoderStep& step, const EndWeights& ends, double norm_eps,
           const MutableTensor& x) {
  const CanonicalFloatEnv environment;  // an f16 may pass a denormal f32
  const std::int64_t width = x.extents[3];
  visit(ends.embedding.view, [&](const auto& embedding) {
    for (std::size_t t = 0; t < step.tokens.size(); ++t)
      for (std::int64_t e = 0; e < width; ++e)
        x.data[t * width + e] = to_float(embedding.at(0, 0, step.tokens[t], e));
  });
  if (ends.embedding_scale != 1)
    for (std::int64_t n = 0; n < x.extents[2] * width; ++n) x.data[n] *= ends.embedding_scale;
  if (ends.positions.view.data != nullptr) {
    std::int64_t t = 0;
    for (const DecoderSequence& part : step.sequences) {
      const std::int64_t end = step.cache.length(part.sequence);
      for (std::int64_t slot = end - part.tokens; slot < end; ++slot, ++t)
        for (std::int64_t e = 0; e < width; ++e)
          x.data[t * width + e] += ends.positions.view.at(0, 0, slot, e);
    }
  }
  if (ends.embedding_norm) apply_norm(step.threads, ends.embedding_norm, norm_eps, x, x);
}

}  // namespace rapt
