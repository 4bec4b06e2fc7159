#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "base/float_control.h"
#include "model/model_test_files.h"
#include "rapt/error.h"
#include "rapt/model.h"

namespace rapt::test {
namespace {

TEST(Config, DefaultsAreFilledIn) {
  const ModelConfig config = ModelConfig::parse(small_config().dump());
  EXPECT_EQ(config.head_dim, 4);
  EXPECT_EQ(config.num_key_value_heads, 1);
  EXPECT_EQ(config.bos_token_ids, std::vector<std::int32_t>{1});
  EXPECT_TRUE(config.ends_text(3));
  EXPECT_TRUE(config.ends_text(1));
  EXPECT_FALSE(config.ends_text(4));
}

TEST(Config, RotaryParametersOfNewerFilesAreRead) {
  nlohmann::json file = small_config();
  file.erase("rope_theta");
  file["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5e5}};
  EXPECT_EQ(ModelConfig::parse(file.dump()).rope_theta, 5e5);
}

TEST(Config, RotaryScalingOfBothFormsIsRead) {
  const nlohmann::json scaling = {{"factor", 8.0},
                                  {"low_freq_factor", 1.0},
                                  {"high_freq_factor", 4.0},
                                  {"original_max_position_embeddings", 4}};
  nlohmann::json older = small_config(), newer = small_config();
  older["architectures"] = newer["architectures"] = {"Phi3ForCausalLM"};  // turns parts of heads
  older["model_type"] = newer["model_type"] = "phi3";
  older["rope_scaling"] = newer["rope_parameters"] = scaling;
  older["rope_scaling"]["type"] = newer["rope_parameters"]["rope_type"] = "llama3";
  older["rope_theta"] = newer["rope_parameters"]["rope_theta"] = 5e5;
  older["partial_rotary_factor"] = newer["rope_parameters"]["partial_rotary_factor"] = 0.5;
  newer["rope_theta"] = 7;  // what is inside goes first
  const RotaryConfig want = {.dims = 2, .theta = 5e5, .scaling = Llama3Scaling{8, 1, 4, 4}};
  EXPECT_EQ(ModelConfig::parse(older.dump()).rotary(), want);
  EXPECT_EQ(ModelConfig::parse(newer.dump()).rotary(), want);
}

TEST(Config, ContextIsThatOfThePositions) {
  const auto context = [](const nlohmann::json& scaling,
                          const nlohmann::json& beside = nlohmann::json::object()) {
    nlohmann::json file = small_config();  // 16 positions
    file["rope_scaling"] = scaling;
    file.update(beside);
    return ModelConfig::parse(file.dump()).context();
  };
  EXPECT_EQ(context(nullptr), 16);
  EXPECT_EQ(context({{"type", "linear"}, {"factor", 4}}), 16);
  EXPECT_EQ(context({{"type", "dynamic"}, {"factor", 2.5}}), 40);
  nlohmann::json yarn = {{"rope_type", "yarn"}, {"factor", 4}};
  EXPECT_EQ(context(yarn), 64);
  EXPECT_EQ(context(yarn, {{"original_max_position_embeddings", 4}}), 16);
  yarn["original_max_position_embeddings"] = 8;
  EXPECT_EQ(context(yarn), 32);
}

struct BadField {
  const char* key;
  nlohmann::json value;
  ErrorCode code;
  const char* message;
};

void PrintTo(const BadField& field, std::ostream* out) { *out << field.key << " " << field.value; }

class BadConfig : public testing::TestWithParam<BadField> {};

TEST_P(BadConfig, IsAnErrorThatNamesTheField) {
  nlohmann::json file = small_config();
  file[GetParam().key] = GetParam().value;
  try {
    ModelConfig::parse(file.dump(), "dir/config.json");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), GetParam().code);
    EXPECT_EQ(std::string(error.what()), GetParam().message);
  }
}

constexpr ErrorCode kBad = ErrorCode::kBadFile, kNot = ErrorCode::kUnsupported;

INSTANTIATE_TEST_SUITE_P(
    Fields, BadConfig,
    testing::ValuesIn(std::vector<BadField>{
        BadField{
            "hidden_size", "64", kBad,
            "dir/config.json hidden_size: expected an integer from 1 to 2147483648, got \"64\""},
        BadField{"hidden_size", 64.0, kBad,
                 "dir/config.json hidden_size: expected an integer from 1 to 2147483648, got 64.0"},
        BadField{"vocab_size", nullptr, kBad,
                 "dir/config.json vocab_size: expected a value, got null"},
        BadField{"hidden_size", 9, kBad,
                 "dir/config.json: ModelConfig.hidden_size: expected a multiple of "
                 "num_attention_heads (2) where head_dim is not given, got 9"},
        BadField{"num_key_value_heads", 3, kBad,
                 "dir/config.json: ModelConfig.num_key_value_heads: expected a divisor of "
                 "num_attention_heads (2), got 3"},
        BadField{"head_dim", 7, kBad,
                 "dir/config.json: ModelConfig.head_dim: expected an even number, got 7"},
        BadField{"tie_word_embeddings", 1, kBad,
                 "dir/config.json tie_word_embeddings: expected true or false, got 1"},
        BadField{
            "eos_token_id",
            {2, -1},
            kBad,
            "dir/config.json eos_token_id[1]: expected an integer from 0 to 2147483647, got -1"},
        BadField{
            "architectures",
            {"OPTForCausalLM"},
            kNot,
            "dir/config.json architectures: expected one of LlamaForCausalLM, MistralForCausalLM, "
            "Qwen2ForCausalLM, Qwen3ForCausalLM, Olmo2ForCausalLM, Gemma2ForCausalLM, "
            "Gemma3ForCausalLM, Phi3ForCausalLM, GPT2LMHeadModel, GPTNeoXForCausalLM, "
            "BloomForCausalLM, T5ForConditionalGeneration, BartForConditionalGeneration, "
            "MarianMTModel, got [\"OPTForCausalLM\"]"},
        BadField{"architectures",
                 {"LlamaForCausalLM", "LlamaForCausalLM"},
                 kBad,
                 "dir/config.json architectures: expected one architecture, got "
                 "[\"LlamaForCausalLM\",\"LlamaForCausalLM\"]"},
        BadField{"architectures", nullptr, kBad,
                 "dir/config.json architectures: expected a value, got null"},
        BadField{"model_type", "gpt2", kBad,
                 "dir/config.json model_type: expected \"llama\", as LlamaForCausalLM is one, got "
                 "\"gpt2\""},
        BadField{"model_type", 1, kBad, "dir/config.json model_type: expected a string, got 1"},
        BadField{"num_hidden_layers", std::uint64_t{1} << 63, kBad,
                 "dir/config.json num_hidden_layers: expected an integer from 1 to 4096, got "
                 "9223372036854775808"},
        BadField{"num_hidden_layers", -1, kBad,
                 "dir/config.json num_hidden_layers: expected an integer from 1 to 4096, got "
                 "-1"},
        BadField{"rms_norm_eps", "1e-5", kBad,
                 "dir/config.json rms_norm_eps: expected a number, got \"1e-5\""},
        BadField{"rms_norm_eps", -1e-5, kBad,
                 "dir/config.json: ModelConfig.rms_norm_eps: expected 0 <= eps < 1, got -1e-05"},
        BadField{"rope_theta", 1e300, kBad,
                 "dir/config.json: ModelConfig.rope_theta: expected 1 to 1e12, got 1e+300"},
        BadField{"rope_parameters", 7, kBad,
                 "dir/config.json rope_parameters: expected an object, got 7"},
        BadField{"hidden_act", "quick_gelu", kNot,
                 "dir/config.json hidden_act: expected one of \"silu\", \"swish\", \"relu\", "
                 "\"gelu\", \"gelu_new\", "
                 "\"gelu_pytorch_tanh\", got \"quick_gelu\""},
        BadField{"rope_scaling",
                 {{"rope_type", "mrope"}},
                 kNot,
                 "dir/config.json rope_scaling rope_type: expected one of \"default\", \"linear\", "
                 "\"dynamic\", \"yarn\", \"llama3\", \"longrope\", \"su\", got \"mrope\""},
        BadField{"rope_scaling",
                 {{"rope_type", "yarn"}},
                 kBad,
                 "dir/config.json rope_scaling factor: expected a value, got none"},
        BadField{"rope_scaling",
                 {{"type", "linear"}, {"factor", "2"}},
                 kBad,
                 "dir/config.json rope_scaling factor: expected a number, got \"2\""},
        BadField{"rope_scaling",
                 {{"type", "linear"}, {"factor", 0.5}},
                 kBad,
                 "dir/config.json: LinearScaling.factor: expected 1 to 1e+06, got 0.5"},
        BadField{"rope_scaling",
                 {{"type", "linear"}, {"factor", 2}, {"beta_fast", 32}},
                 kNot,
                 "dir/config.json rope_scaling beta_fast: expected no field that type \"linear\" "
                 "does not have, got 32"},
        BadField{"rope_scaling",
                 {{"type", "linear"}, {"rope_type", "yarn"}, {"factor", 2}},
                 kBad,
                 "dir/config.json rope_scaling type: expected rope_type's value, got \"linear\""},
        BadField{"rope_scaling",
                 {{"type", "yarn"}, {"factor", 2}, {"original_max_position_embeddings", 0}},
                 kBad,
                 "dir/config.json rope_scaling original_max_position_embeddings: expected an "
                 "integer from 1 to 2147483648, got 0"},
        BadField{"rope_scaling",
                 {{"type", "yarn"}, {"factor", 2}, {"truncate", 1}},
                 kBad,
                 "dir/config.json rope_scaling truncate: expected true or false, got 1"},
        BadField{"rope_scaling",
                 {{"type", "longrope"}, {"short_factor", {1, 1}}, {"long_factor", {1, "2"}}},
                 kBad,
                 "dir/config.json rope_scaling long_factor[1]: expected a number, got \"2\""},
        BadField{"rope_scaling",
                 {{"type", "longrope"}, {"short_factor", {1, 1}}, {"long_factor", {1, 2, 3}}},
                 kBad,
                 "dir/config.json: LongRopeScaling.long_factor: expected 2 numbers, got 3"},
        BadField{"original_max_position_embeddings", "4096", kBad,
                 "dir/config.json original_max_position_embeddings: expected an integer from 1 to "
                 "2147483648, got \"4096\""},
        BadField{"partial_rotary_factor", 0.5, kNot,
                 "dir/config.json partial_rotary_factor: expected 1, got 0.5"},
        BadField{"rope_parameters",
                 {{"partial_rotary_factor", 0.5}},
                 kNot,
                 "dir/config.json rope_parameters partial_rotary_factor: expected 1, got 0.5"},
        BadField{"quantization_config",
                 {{"bits", 4}},
                 kNot,
                 "dir/config.json quantization_config: expected no field that this version does "
                 "not know: it may change the model, got {\"bits\":4}"}}));

TEST(Config, MalformedTextIsAnError) {
  const std::string whole = small_config().dump();
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_THROW(ModelConfig::parse(whole.substr(0, size)), Error) << size;
  for (const std::string text : {"[]", "1", "{\"vocab_size\":1,\"vocab_size\":2}", "\xFF",
                                 "{\"rope_theta\":1e999}", "{\"rope_theta\":NaN}", "{} {}"})
    EXPECT_THROW(ModelConfig::parse(text), Error) << text;
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  EXPECT_THROW(ModelConfig::parse("{\"hidden_size\":" + deep + "}"), Error);
}

TEST(Config, IsTheSameInAnyRoundingMode) {
  nlohmann::json file = small_config();
  file["architectures"] = {"Gemma2ForCausalLM"};
  file["model_type"] = "gemma2";
  file["head_dim"] = 4;
  file["query_pre_attn_scalar"] = 3;
  const auto values = [&] {
    const ModelConfig config = ModelConfig::parse(file.dump());
    return std::pair(config.rms_norm_eps, config.layers[0].scale);
  };
  const auto want = values();
  const unsigned long before = float_control();
  set_float_control(before | kRoundUp);
  const auto got = values();
  set_float_control(before);
  EXPECT_EQ(got, want);
}

TEST(Config, MissingFieldIsNamed) {
  nlohmann::json file = small_config();
  file.erase("hidden_size");
  try {
    ModelConfig::parse(file.dump());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()), "config.json hidden_size: expected a value, got none");
  }
}

}  // namespace
}  // namespace rapt::test
