#include "model/families/encoder_decoder.h"

#include <cmath>

namespace rapt {

void read_encoder_decoder(ConfigFields& fields, ModelConfig& config, std::int32_t start) {
  fields.serve_only("is_encoder_decoder", true);
  fields.serve_only("is_decoder", false);
  std::vector<std::int32_t>& begin = config.decoder_start_token_ids;
  const bool given = fields.has("decoder_start_token_id");
  begin = read_token_ids(fields, given ? "decoder_start_token_id" : "bos_token_id");
  if (!given && start >= 0) begin = {start};
  if (begin.size() != 1) fields["decoder_start_token_id"].fail("a token");
  const bool older = fields.flag("force_bos_token_to_be_generated", false);
  const bool newer = fields.has("forced_bos_token_id");
  std::vector<std::int32_t> forced = read_token_ids(fields, "forced_bos_token_id");
  if (older && !newer) forced = read_token_ids(fields, "bos_token_id");
  begin.insert(begin.end(), forced.begin(), forced.end());
  // How transformers' generate() searches and where it stops; no logit.
  fields.ignore({"classif_dropout", "classifier_dropout", "do_sample", "early_stopping",
                 "forced_eos_token_id", "gradient_checkpointing", "length_penalty", "max_length",
                 "min_length", "no_repeat_ngram_size", "num_beams", "output_past", "prefix",
                 "task_specific_params"});
}

WeightMatrix stack_embedding(const ModelConfig& c, const Weights& weights,
                             const std::string& shared, const std::string& own) {
  WeightMatrix both;
  if (!weights.has(own) || weights.has(shared))
    both = weights.matrix(shared, c.vocab_size, c.hidden_size);
  return weights.has(own) ? weights.matrix(own, c.vocab_size, c.hidden_size) : both;
}

float root_of_width(const ModelConfig& config) {
  return static_cast<float>(std::sqrt(static_cast<double>(config.hidden_size)));
}

}  // namespace rapt
