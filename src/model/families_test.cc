// What each family reads from config.json: its layers, and what it refuses. (Logits are compared
// with transformers' in python/tests/test_families.py.)

#include "model/families.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <optional>
#include <utility>

#include "base/float_control.h"
#include "model/model_test_files.h"
#include "rapt/error.h"
#include "rapt/session.h"

namespace rapt::test {
namespace {

using Json = nlohmann::json;

Json with_names(Json config, const char* architecture, const char* model_type) {
  config["architectures"] = {architecture};
  config["model_type"] = model_type;
  return config;
}

/// A config.json of each family, of one layer in small_config(), here of four.
Json config_of(const std::string& family) {
  Json config = small_config();
  config["num_hidden_layers"] = 4;
  if (family == "llama") return config;
  if (family == "mistral") return with_names(config, "MistralForCausalLM", "mistral");
  if (family == "qwen2") return with_names(config, "Qwen2ForCausalLM", "qwen2");
  if (family == "qwen3") return with_names(config, "Qwen3ForCausalLM", "qwen3");
  if (family == "olmo2") return with_names(config, "Olmo2ForCausalLM", "olmo2");
  if (family == "phi3") return with_names(config, "Phi3ForCausalLM", "phi3");
  if (family == "gemma2") return with_names(config, "Gemma2ForCausalLM", "gemma2");
  if (family == "gemma3") {
    config.erase("rope_theta");
    return with_names(config, "Gemma3ForCausalLM", "gemma3_text");
  }
  Json layer_norms = {{"vocab_size", 300}, {"layer_norm_epsilon", 1e-5}};
  if (family == "gpt2") {
    layer_norms.update({{"n_embd", 8}, {"n_layer", 4}, {"n_head", 2}, {"n_positions", 16}});
    return with_names(layer_norms, "GPT2LMHeadModel", "gpt2");
  }
  if (family == "bloom") {
    layer_norms.update({{"hidden_size", 8}, {"n_layer", 4}, {"n_head", 2}});
    return with_names(layer_norms, "BloomForCausalLM", "bloom");
  }
  if (family == "t5")
    return with_names({{"vocab_size", 300},
                       {"d_model", 8},
                       {"d_kv", 3},
                       {"d_ff", 12},
                       {"num_layers", 2},
                       {"num_decoder_layers", 4},
                       {"num_heads", 2},
                       {"decoder_start_token_id", 0}},
                      "T5ForConditionalGeneration", "t5");
  if (family == "bart" || family == "marian") {
    const bool is_bart = family == "bart";
    return with_names({{"vocab_size", 300},
                       {"d_model", 8},
                       {"encoder_layers", 2},
                       {"encoder_attention_heads", 4},
                       {"encoder_ffn_dim", 12},
                       {"decoder_layers", 4},
                       {"decoder_attention_heads", 2},
                       {"decoder_ffn_dim", 16},
                       {"max_position_embeddings", 32},
                       {"pad_token_id", 299},
                       {"bos_token_id", 0},
                       {"eos_token_id", 2},
                       {"decoder_start_token_id", is_bart ? 2 : 299}},
                      is_bart ? "BartForConditionalGeneration" : "MarianMTModel",
                      is_bart ? "bart" : "marian");
  }
  for (const char* key : {"rms_norm_eps", "num_key_value_heads", "rope_theta", "hidden_act"})
    config.erase(key);
  config["hidden_size"] = 32;
  return with_names(config, "GPTNeoXForCausalLM", "gpt_neox");
}

ModelConfig parse(const std::string& family, const Json& fields = Json::object()) {
  Json config = config_of(family);
  config.update(fields);
  return ModelConfig::parse(config.dump());
}

/// What each layer's window is.
std::vector<std::int64_t> windows(const ModelConfig& config) {
  std::vector<std::int64_t> windows;
  for (const LayerConfig& layer : config.layers) windows.push_back(layer.window);
  return windows;
}

using Windows = std::vector<std::int64_t>;

TEST(Families, WindowsAreThoseOfTheLayers) {
  EXPECT_EQ(windows(parse("mistral")), Windows(4, 4096));  // transformers' default
  EXPECT_EQ(windows(parse("mistral", {{"sliding_window", nullptr}})), Windows(4, 0));
  EXPECT_EQ(windows(parse("mistral", {{"sliding_window", 5}})), Windows(4, 5));
  EXPECT_EQ(windows(parse("phi3")), Windows(4, 0));
  EXPECT_EQ(windows(parse("phi3", {{"sliding_window", 5}})), Windows(4, 5));
  const Json qwen = {{"sliding_window", 5}, {"max_window_layers", 3}};
  EXPECT_EQ(windows(parse("qwen2", qwen)), Windows(4, 0));
  Json used = qwen;
  used["use_sliding_window"] = true;
  EXPECT_EQ(windows(parse("qwen2", used)), (Windows{0, 0, 0, 5}));
  EXPECT_EQ(windows(parse("gemma2", {{"sliding_window", 5}})), (Windows{5, 0, 5, 0}));
  const Json third = {{"sliding_window", 5}, {"sliding_window_pattern", 3}};
  EXPECT_EQ(windows(parse("gemma3", third)), (Windows{5, 5, 0, 5}));
  const char *slides = "sliding_attention", *sees_all = "full_attention";
  used["layer_types"] = {slides, sees_all, sees_all, slides};
  EXPECT_EQ(windows(parse("qwen3", used)), (Windows{5, 0, 0, 5}));
}

TEST(Families, PositionsAndScoresAreThoseOfTheLayers) {
  const ModelConfig gemma3 = parse("gemma3", {{"rope_local_base_freq", 77.0}});
  EXPECT_EQ(gemma3.layers[0].rotary->theta, 77.0);
  EXPECT_EQ(parse("gemma3", {{"sliding_window_pattern", 1}}).layers[0].rotary->theta, 1e6);
  const ModelConfig gemma2 =
      parse("gemma2", {{"attn_logit_softcapping", 50.0}, {"query_pre_attn_scalar", 16}});
  EXPECT_EQ(gemma2.layers[3].softcap, 50.0f);
  EXPECT_EQ(gemma2.layers[3].scale, 0.25f);
  EXPECT_EQ(gemma2.head_dim, 256);
  EXPECT_EQ(parse("gpt_neox").layers[0].rotary->dims, 4);
  EXPECT_FALSE(parse("gpt2").layers[0].rotary);
  EXPECT_TRUE(parse("bloom").layers[0].alibi);
  EXPECT_EQ(parse("bloom").context(), 2048);
  const ModelConfig gpt2 = parse("gpt2", {{"scale_attn_by_inverse_layer_idx", true}});
  EXPECT_FLOAT_EQ(*gpt2.layers[3].scale, 0.125f);
}

TEST(Families, EncodersHaveTheirOwnExtents) {
  const ModelConfig t5 = parse("t5");
  EXPECT_EQ(t5.layers,
            std::vector<LayerConfig>(4, {.relative = RelativeBuckets{32, 128}, .scale = 1.0f}));
  EXPECT_EQ(t5.encoder, (EncoderConfig{2, 2, 3, 12, 0}));
  EXPECT_EQ(t5.context(), 512);
  const ModelConfig bart = parse("bart");
  EXPECT_EQ(bart.head_dim, 4);
  EXPECT_EQ(bart.encoder, (EncoderConfig{2, 4, 2, 12, 32}));
  EXPECT_EQ(bart.context(), 32);
  EXPECT_FALSE(parse("gpt2").encoder);
}

// T5 1.1 by transformers 4, which unties the head, and by 5, which says what that meant.
TEST(Families, HeadsOfT5AreScaledAsTransformersReadsIt) {
  EXPECT_TRUE(parse("t5").scale_decoder_outputs);
  EXPECT_FALSE(parse("t5", {{"tie_word_embeddings", false}}).scale_decoder_outputs);
  const Json newer = {{"tie_word_embeddings", true}, {"scale_decoder_outputs", false}};
  EXPECT_FALSE(parse("t5", newer).scale_decoder_outputs);
  const auto activation = [](const char* name) {
    const ModelConfig config = parse("t5", {{"feed_forward_proj", name}});
    return std::pair(config.is_gated_act, config.hidden_act);
  };
  EXPECT_EQ(activation("relu"), std::pair(false, Activation::kRelu));
  EXPECT_EQ(activation("gated-gelu"), std::pair(true, Activation::kGeluTanh));
  EXPECT_EQ(activation("gated-silu"), std::pair(true, Activation::kSilu));
  EXPECT_EQ(activation("gelu"), std::pair(false, Activation::kGelu));
}

TEST(Families, TextsOfEncoderDecodersBeginAsConfigured) {
  using Tokens = std::vector<std::int32_t>;
  EXPECT_EQ(parse("t5").decoder_start_token_ids, Tokens{0});
  EXPECT_EQ(parse("bart").decoder_start_token_ids, Tokens{2});
  EXPECT_EQ(parse("bart", {{"forced_bos_token_id", 0}}).decoder_start_token_ids, (Tokens{2, 0}));
  EXPECT_EQ(parse("t5", {{"decoder_start_token_id", nullptr}, {"bos_token_id", 7}})
                .decoder_start_token_ids,
            Tokens{7});
  EXPECT_TRUE(parse("bart").ends_text(2));
  EXPECT_FALSE(parse("bart").ends_text(0)) << "a BART draws it first";
  EXPECT_EQ(parse("marian").suppressed_token_ids, Tokens{299});
  EXPECT_EQ(parse("bart").suppressed_token_ids, Tokens{});
}

TEST(Families, AbsentSoftcapsAreThoseOfTransformersAndNullIsNone) {
  const auto caps = [](const std::string& family, const Json& fields = Json::object()) {
    const ModelConfig config = parse(family, fields);
    return std::pair(config.layers[1].softcap, config.final_logit_softcapping);
  };
  using Caps = std::pair<std::optional<float>, std::optional<float>>;
  EXPECT_EQ(caps("gemma2"), Caps(50.0f, 30.0f));
  EXPECT_EQ(caps("gemma2", {{"attn_logit_softcapping", nullptr}}), Caps(std::nullopt, 30.0f));
  EXPECT_EQ(caps("gemma2", {{"final_logit_softcapping", nullptr}}), Caps(50.0f, std::nullopt));
  EXPECT_EQ(caps("gemma3"), Caps());
  EXPECT_EQ(caps("gemma3", {{"final_logit_softcapping", 7.0}}), Caps(std::nullopt, 7.0f));
}

// A session of more tokens would read behind the table.
TEST(Families, LearnedPositionsAreNotStretched) {
  ModelConfig config = parse("gpt2");  // 16 positions
  config.rope_scaling = DynamicNtkScaling{1, 16};
  EXPECT_NO_THROW(Model::random(config, 1));
  config.rope_scaling = DynamicNtkScaling{4, 16};
  try {
    Model::random(config, 1);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadArgument);
    EXPECT_STREQ(error.what(),
                 "ModelConfig.rope_scaling: expected a context of at most the 16 learned "
                 "positions, got 64");
  }
}

// 1 + w and the embedding's scale of Gemma, and packed weights.
TEST(Families, WeightsAreTheSameInAnyRoundingMode) {
  const ModelConfig config = parse("gemma2");
  const auto logits = [&](unsigned long mode) {
    const unsigned long before = float_control();
    set_float_control(before | mode);
    const Model model = Model::random(config, 1);
    set_float_control(before);
    Session session(model);
    const std::vector<std::int32_t> tokens = {5, 6, 7};
    const ConstTensor row = session.prefill(tokens);
    return std::vector<float>(row.data, row.data + row.extents[3]);
  };
  EXPECT_EQ(logits(0), logits(kRoundUp));
}

struct Refusal {
  const char* family;
  Json fields;
  const char* message;
};

void PrintTo(const Refusal& refusal, std::ostream* out) {
  *out << refusal.family << " " << refusal.fields;
}

class RefusedConfig : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedConfig, NamesTheField) {
  try {
    parse(GetParam().family, GetParam().fields);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()), std::string("config.json") + GetParam().message);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Fields, RefusedConfig,
    testing::ValuesIn(std::vector<Refusal>{
        {"mistral",
         {{"sliding_window", 0}},
         " sliding_window: expected an integer from 1 to 2147483648, got 0"},
        {"qwen2",
         {{"layer_types", {"full_attention"}}},
         " layer_types: expected 4 types, one a layer, got [\"full_attention\"]"},
        {"qwen3",
         {{"layer_types",
           {"full_attention", "chunked_attention", "full_attention", "full_attention"}}},
         " layer_types[1]: expected \"full_attention\" or \"sliding_attention\", got "
         "\"chunked_attention\""},
        {"qwen2", {{"use_mrope", true}}, " use_mrope: expected false, got true"},
        {"gemma2",
         {{"attn_logit_softcapping", -1.0}},
         ": ModelConfig.layers.softcap: expected a positive number, got -1"},
        {"gemma2",
         {{"final_logit_softcapping", 0.0}},
         ": ModelConfig.final_logit_softcapping: expected a positive number, got 0"},
        {"gemma2",
         {{"query_pre_attn_scalar", 0}},
         ": ModelConfig.layers.scale: expected a positive number, got inf"},
        {"gemma3",
         {{"use_bidirectional_attention", true}},
         " use_bidirectional_attention: expected false, got true"},
        {"gemma3",
         {{"rope_parameters", {{"full_attention", Json::object()}, {"chunked", Json::object()}}}},
         " rope_parameters chunked: expected \"full_attention\" or \"sliding_attention\", got {}"},
        {"gpt2", {{"add_cross_attention", true}}, " add_cross_attention: expected false, got true"},
        {"gpt2", {{"n_embd", nullptr}}, " n_embd: expected a value, got null"},
        {"bloom",
         {{"apply_residual_connection_post_layernorm", true}},
         " apply_residual_connection_post_layernorm: expected false, got true"},
        {"gpt_neox", {{"is_decoder", true}}, " is_decoder: expected false, got true"},
        {"t5",
         {{"feed_forward_proj", "gated-tanh"}},
         " feed_forward_proj: expected one of \"silu\", \"swish\", \"relu\", \"gelu\", "
         "\"gelu_new\", "
         "\"gelu_pytorch_tanh\", got \"gated-tanh\""},
        {"t5", {{"is_gated_act", true}}, " is_gated_act: expected false, got true"},
        {"t5",
         {{"feed_forward_proj", "gated-gelu"}, {"dense_act_fn", "gelu"}},
         " dense_act_fn: expected \"gelu_new\", got \"gelu\""},
        {"t5",
         {{"relative_attention_num_buckets", 7}},
         ": ModelConfig.layers.relative.buckets: expected an even number from 4 to 2^20, got 7"},
        {"t5",
         {{"relative_attention_max_distance", 16}},
         ": ModelConfig.layers.relative.max_distance: expected 17 to 2^20, got 16"},
        {"t5", {{"is_encoder_decoder", false}}, " is_encoder_decoder: expected true, got false"},
        {"t5",
         {{"decoder_start_token_id", nullptr}},
         " decoder_start_token_id: expected a token, got null"},
        {"bart", {{"num_hidden_layers", 4}}, " num_hidden_layers: expected 2, got 4"},
        {"bart", {{"normalize_before", true}}, " normalize_before: expected false, got true"},
        {"bart",
         {{"encoder_attention_heads", 3}},
         " encoder_attention_heads: expected a divisor of d_model (8), got 3"},
        {"marian",
         {{"normalize_embedding", true}},
         " normalize_embedding: expected false, got true"},
        {"marian", {{"decoder_vocab_size", 200}}, " decoder_vocab_size: expected 300, got 200"},
        {"marian",
         {{"bad_words_ids", {{299}, {5}}}},
         " bad_words_ids: expected [[pad_token_id]], got [[299],[5]]"},
        {"marian",
         {{"pad_token_id", 300}},
         ": ModelConfig.suppressed_token_ids: expected 0 to 299, got 300"},
        {"phi3", {{"lm_head_bias", true}}, " lm_head_bias: expected false, got true"},
        {"phi3", {{"full_attn_mod", 2}}, " full_attn_mod: expected 1, got 2"},
        {"phi3",
         {{"rope_scaling",
           {{"type", "longrope"},
            {"short_factor", {1, 1}},
            {"long_factor", {1, 2}},
            {"original_max_position_embeddings", 8}}}},
         " original_max_position_embeddings: expected a value, got none"},
        {"phi3",
         {{"partial_rotary_factor", 0.3}},
         ": ModelConfig.partial_rotary_factor: expected an even number of the 4 features of a "
         "head, got 0.3"},
        {"gemma3",
         {{"rope_parameters", {{"full_attention", {{"partial_rotary_factor", 0.5}}}}}},
         " rope_parameters full_attention partial_rotary_factor: expected 1, got 0.5"},
        {"gemma3",
         {{"attn_logit_softcapping", 50.0}},
         " attn_logit_softcapping: expected null, got 50.0"},
        {"gemma3",
         {{"rope_parameters", {{"rope_type", "linear"}, {"factor", 4}}}},
         " rope_parameters full_attention: expected a value, got none"},
        {"gpt_neox",
         {{"rope_theta", 5000}},
         " rope_theta: expected none beside rotary_emb_base, rotary_pct or rope_parameters, got "
         "5000"},
        {"llama",
         {{"sliding_window", 4}},
         " sliding_window: expected no field that this version does not know: it may change the "
         "model, got 4"}}));

}  // namespace
}  // namespace rapt::test
