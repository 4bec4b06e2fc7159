// Logits of a whole model: the same bits, however it is run.
#include <gtest/gtest.h>

#include "rapt/session.h"
#include "util.h"

namespace rapt::test {
namespace {

ModelConfig small_llama(std::int64_t context) {
  ModelConfig config;
  config.vocab_size = 97;
  config.hidden_size = 48;
  config.intermediate_size = 104;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 6;
  config.num_key_value_heads = 2;
  config.head_dim = 10;
  config.max_position_embeddings = context;
  return config;
}

std::vector<std::int32_t> random_tokens(const ModelConfig& config, std::int64_t count) {
  Rng rng(7);
  std::vector<std::int32_t> tokens;
  for (std::int64_t n = 0; n < count; ++n)
    tokens.push_back(static_cast<std::int32_t>(rng.below(config.vocab_size)));
  return tokens;
}

/// Logits of all tokens, taken in pieces: chunks(t) is the size of the piece that begins at t.
template <class Chunks>
Tensor logits_of(const Model& model, const std::vector<std::int32_t>& tokens, int threads,
                 Chunks&& chunk_at) {
  Session session(model, Threads(threads));
  if (model.config().encoder) session.encode(tokens);
  const std::int64_t count = std::ssize(tokens), vocab = model.config().vocab_size;
  Tensor all({1, 1, count, vocab});
  for (std::int64_t t = 0; t < count;) {
    const std::int64_t chunk = std::min<std::int64_t>(chunk_at(t), count - t);
    copy(session.prefill(std::span(tokens).subspan(t, chunk), Logits::kAll),
         {&all.view.at(0, 0, t, 0), {1, 1, chunk, vocab}});
    t += chunk;
  }
  return all;
}

void expect_same_bits_however_run(const ModelConfig& config, std::int64_t count,
                                  const ModelOptions& options = {}) {
  const Model model = Model::random(config, 1, options);
  const std::vector<std::int32_t> tokens = random_tokens(config, count);
  const auto whole = [&](std::int64_t) { return count; };
  const auto one = [](std::int64_t) { return 1; };
  const auto uneven = [](std::int64_t t) { return t % 5 == 0 ? 17 : t % 3 == 0 ? 301 : 64; };
  const Tensor expected = logits_of(model, tokens, 1, whole);

  for (const int threads : {2, 3, 8})
    EXPECT_TRUE(same_bits(expected.view, logits_of(model, tokens, threads, whole).view))
        << threads << " threads";
  EXPECT_TRUE(same_bits(expected.view, logits_of(model, tokens, 2, uneven).view)) << "in chunks";
  EXPECT_TRUE(same_bits(expected.view, logits_of(model, tokens, 2, one).view)) << "token by token";
  for (const Isa isa : supported_isas()) {
    const ForcedIsa forced(isa);
    EXPECT_TRUE(same_bits(expected.view, logits_of(model, tokens, 2, whole).view)) << name(isa);
    EXPECT_TRUE(same_bits(expected.view, logits_of(model, tokens, 1, uneven).view)) << name(isa);
  }
}

TEST(ModelInvariance, SameBitsHoweverRun) { expect_same_bits_however_run(small_llama(70), 70); }

TEST(ModelInvariance, SameBitsHoweverRunInEveryType) {
  for (const ModelOptions& options :
       {ModelOptions{WeightType::kBF16, DType::kBF16}, ModelOptions{WeightType::kInt8, DType::kF16},
        ModelOptions{WeightType::kF16, DType::kF32},
        ModelOptions{WeightType::kNativeBF16, DType::kBF16, Arithmetic::kNativeBF16}}) {
    SCOPED_TRACE(std::string(name(*options.weights)) + " and " + name(options.cache));
    expect_same_bits_however_run(small_llama(70), 70, options);
  }
}

/// A config.json of every family whose network differs from Llama's, with windows of 11 tokens.
std::vector<std::string> families() {
  const std::string shape =
      R"("vocab_size": 97, "hidden_size": 48, "intermediate_size": 72, "num_hidden_layers": 2,
         "num_attention_heads": 6, "max_position_embeddings": 64, )";
  const std::string grouped = shape + R"("num_key_value_heads": 2, "head_dim": 8, )";
  const std::string windows =
      R"("sliding_window": 11, "layer_types": ["sliding_attention", "full_attention"], )";
  const std::string bart =
      R"("vocab_size": 97, "d_model": 48, "encoder_layers": 2, "encoder_attention_heads": 4,
         "encoder_ffn_dim": 40, "decoder_layers": 2, "decoder_attention_heads": 6,
         "decoder_ffn_dim": 72, "max_position_embeddings": 64, "decoder_start_token_id": 1, )";
  return {
      grouped + R"("sliding_window": 11, "architectures": ["MistralForCausalLM"])",
      grouped + windows + R"("use_sliding_window": true, "architectures": ["Qwen2ForCausalLM"])",
      grouped + R"("architectures": ["Qwen3ForCausalLM"])",
      grouped + R"("architectures": ["Olmo2ForCausalLM"])",
      grouped + windows + R"("attn_logit_softcapping": 3.0, "final_logit_softcapping": 2.0,
                             "architectures": ["Gemma2ForCausalLM"])",
      grouped + windows + R"("architectures": ["Gemma3ForCausalLM"])",
      grouped + R"("partial_rotary_factor": 0.5, "architectures": ["Phi3ForCausalLM"])",
      shape + R"("rotary_pct": 0.5, "architectures": ["GPTNeoXForCausalLM"])",
      R"("vocab_size": 97, "n_embd": 48, "n_layer": 2, "n_head": 6, "n_positions": 64,
         "architectures": ["GPT2LMHeadModel"])",
      R"("vocab_size": 97, "hidden_size": 48, "n_layer": 2, "n_head": 6, "seq_length": 64,
         "architectures": ["BloomForCausalLM"])",
      R"("vocab_size": 97, "d_model": 48, "d_kv": 10, "d_ff": 72, "num_layers": 2, "num_heads": 6,
         "n_positions": 64, "relative_attention_num_buckets": 8,
         "relative_attention_max_distance": 20, "decoder_start_token_id": 1,
         "architectures": ["T5ForConditionalGeneration"])",
      bart + R"("architectures": ["BartForConditionalGeneration"])",
      bart + R"("architectures": ["MarianMTModel"])",
  };
}

TEST(ModelInvariance, SameBitsHoweverRunOfEveryFamily) {
  for (const std::string& fields : families()) {
    const ModelConfig config = ModelConfig::parse("{" + fields + "}");
    SCOPED_TRACE(config.architecture);
    expect_same_bits_however_run(config, 40);
  }
}

std::vector<RotaryScaling> scalings(std::int64_t original) {
  return {LinearScaling{4}, DynamicNtkScaling{4, original},
          YarnScaling{.factor = 4, .original_context = original}, Llama3Scaling{8, 1, 4, original},
          LongRopeScaling{{1, 1, 1, 1, 1}, {1, 1.5, 2, 8, 20}, 4, original}};
}

TEST(ModelInvariance, SameBitsHoweverRunBeyondTheOriginalContext) {
  for (const RotaryScaling& scaling : scalings(20)) {
    SCOPED_TRACE(name(scaling));
    ModelConfig config = small_llama(70);
    config.rope_scaling = scaling;
    expect_same_bits_however_run(config, 70);
  }
}

// Positions are those of the scaling: other logits than without it, once there is a distance.
TEST(ModelInvariance, ScalingReachesTheModel) {
  const ModelConfig config = small_llama(70);
  const auto tokens = random_tokens(config, 70);
  const auto whole = [](std::int64_t) { return 70; };
  const Tensor plain = logits_of(Model::random(config, 1), tokens, 1, whole);
  for (const RotaryScaling& scaling : scalings(20)) {
    SCOPED_TRACE(name(scaling));
    ModelConfig scaled = config;
    scaled.rope_scaling = scaling;
    const Tensor logits = logits_of(Model::random(scaled, 1), tokens, 1, whole);
    EXPECT_FALSE(same_bits(plain.view, logits.view));
    for (int n = 0; n < 97; ++n)
      EXPECT_NEAR(plain.view.at(0, 0, 0, n), logits.view.at(0, 0, 0, n), 1e-5) << n;
  }
}

// What a session is made for is the length that dynamic NTK and LongRoPE scale for; up to the
// original context it does not show.
TEST(ModelInvariance, OnlyCapacitiesBeyondTheOriginalContextShow) {
  for (const RotaryScaling& scaling : scalings(20)) {
    SCOPED_TRACE(name(scaling));
    ModelConfig config = small_llama(40);
    config.rope_scaling = scaling;
    const Model model = Model::random(config, 1);
    const auto tokens = random_tokens(config, 12);
    const auto logits = [&](std::int64_t capacity) {
      Session session(model, Threads(1), capacity);
      return hash_bits(session.prefill(tokens));
    };
    const bool looks = scaling.index() == 2 || scaling.index() == 5;
    EXPECT_EQ(logits(12), logits(20));
    EXPECT_EQ(logits(12) != logits(40), looks);
  }
}

TEST(ModelInvariance, SameBitsHoweverRunAtContext2048Exhaustive) {
  ModelConfig config = small_llama(2048);
  config.hidden_size = 128;
  config.intermediate_size = 352;
  config.num_hidden_layers = 3;
  config.head_dim = 32;
  config.attention_bias = config.mlp_bias = config.tie_word_embeddings = true;
  expect_same_bits_however_run(config, 2048);
}

TEST(ModelInvariance, LastLogitsAreTheLastOfAll) {
  const Model model = Model::random(small_llama(600), 1);
  const auto tokens = random_tokens(model.config(), 600);
  Session session(model);
  const ConstTensor last = session.prefill(tokens);
  const Tensor all = logits_of(model, tokens, 1, [](std::int64_t) { return 600; });
  EXPECT_TRUE(same_bits(last, ConstTensor(&all.view.at(0, 0, 599, 0), {1, 1, 1, 97})));
}

TEST(ModelInvariance, TruncatedSessionContinuesAsIfNothingHadCome) {
  const Model model = Model::random(small_llama(64), 1);
  const auto tokens = random_tokens(model.config(), 40);
  const Tensor expected = logits_of(model, tokens, 1, [](std::int64_t) { return 40; });
  Session session(model, Threads(1));
  session.prefill(std::span(tokens).subspan(0, 30));
  session.prefill(std::span(tokens).subspan(0, 20));  // other tokens, to be forgotten
  session.truncate(30);
  const ConstTensor rest = session.prefill(std::span(tokens).subspan(30), Logits::kAll);
  EXPECT_TRUE(same_bits(rest, ConstTensor(&expected.view.at(0, 0, 30, 0), {1, 1, 10, 97})));
}

}  // namespace
}  // namespace rapt::test
