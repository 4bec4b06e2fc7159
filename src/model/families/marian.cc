#include <memory>

#include "base/elementary.h"
#include "model/families/all.h"
#include "model/families/bart.h"
#include "model/families/encoder_decoder.h"

namespace rapt {
namespace {

/// Marian, the translators of OPUS-MT: BART without the norm of the embedding and with positions
/// that are no weights. Of a width d, position t has
///
///     P[t] = (sin(t / 10000^(2m/d)) of m = 0, 1, ..., then cos of the same)
///
/// Texts begin with the token of padding, which generation never draws.
///
/// @source arXiv:1804.00344 (the program), 1706.03762, 3.5 (the positions)
void read(ConfigFields& fields, ModelConfig& config) {
  read_bart(fields, config, 58100);
  fields.serve_only("decoder_vocab_size", static_cast<double>(config.vocab_size));
  fields.serve_only("share_encoder_decoder_embeddings", true);
  fields.serve_only("normalize_embedding", false);
  fields.serve_only("static_position_embeddings", true);
  config.suppressed_token_ids = read_token_ids(fields, "pad_token_id");
  if (!fields.has("bad_words_ids")) return;
  const JsonField bad = fields["bad_words_ids"];  // lists of tokens, which are words
  const std::string expected = "[[pad_token_id]]";
  bad.serve_only(bad.array_size() == 1 && bad.at(0).array_size() == 1, expected);
  bad.serve_only(
      config.suppressed_token_ids ==
          std::vector{static_cast<std::int32_t>(bad.at(0).at(0).integer(0, kLargestExtent - 1))},
      expected);
}

/// Of one stack: as the file has them, or as they are computed.
WeightMatrix positions(const ModelConfig& c, const Weights& weights, const std::string& stack) {
  const std::string name = "model." + stack + ".embed_positions.weight";
  if (weights.has(name)) return weights.matrix(name, c.max_position_embeddings, c.hidden_size);
  const std::int64_t d = c.hidden_size, sines = (d + 1) / 2;
  const auto values =
      std::make_shared<std::vector<float>>(c.max_position_embeddings * c.hidden_size);
  for (std::int64_t m = 0; m < sines; ++m) {
    const double period =
        elementary::pow(10000.0, 2 * static_cast<double>(m) / static_cast<double>(d));
    for (std::int64_t t = 0; t < c.max_position_embeddings; ++t) {
      const auto [sin, cos] = elementary::sin_cos(static_cast<double>(t) / period);
      (*values)[t * d + m] = static_cast<float>(sin);
      if (sines + m < d) (*values)[t * d + sines + m] = static_cast<float>(cos);
    }
  }
  const ConstTensor table(values->data(), {1, 1, c.max_position_embeddings, d});
  return {table, values};
}

EndWeights ends(const ModelConfig& c, const Weights& weights) {
  EndWeights ends = bart_decoder_ends(c, weights);
  ends.positions = positions(c, weights, "decoder");
  return ends;
}

EndWeights encoder_ends(const ModelConfig& c, const Weights& weights) {
  EndWeights ends = bart_encoder_ends(c, weights);
  ends.positions = positions(c, weights, "encoder");
  return ends;
}

}  // namespace

const Family kMarian = {"MarianMTModel",    "marian", read,         ends,
                        bart_decoder_block, false,    encoder_ends, bart_encoder_block};

}  // namespace rapt
