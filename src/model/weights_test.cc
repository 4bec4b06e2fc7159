#include "model/weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "model/model_test_files.h"
#include "rapt/error.h"
#include "rapt/model.h"
#include "rapt/session.h"
#include "util.h"

namespace rapt::test {
namespace {

TEST(Model, WeightsAreCheckedAgainstTheConfig) {
  const Directory directory;
  EXPECT_NE(
      error_of([&] { Model::load(directory.path()); }).find("config.json: expected a readable"),
      std::string::npos);
  directory.write("config.json", small_config().dump());
  EXPECT_NE(error_of([&] { Model::load(directory.path()); }).find("model.safetensors: expected"),
            std::string::npos);
  directory.write("model.safetensors", safetensors("{}", ""));
  EXPECT_NE(error_of([&] {
              Model::load(directory.path());
            }).find("model.safetensors: expected a tensor model.embed_tokens.weight, got none"),
            std::string::npos);
  directory.write("model.safetensors",
                  safetensors(R"({"model.embed_tokens.weight":{"dtype":"F32","shape":[2],)"
                              R"("data_offsets":[0,8]}})",
                              "01234567"));
  EXPECT_NE(error_of([&] {
              Model::load(directory.path());
            }).find("model.embed_tokens.weight: expected shape [300, 8] by config.json, got [2]"),
            std::string::npos);
}

TEST(Weights, SixteenBitsConvertExactly) {
  const Directory directory;
  // f16: 1, -2, the least denormal, the largest, -inf; bf16: 1, -0, 3.
  const std::string header = R"({"half":{"dtype":"F16","shape":[5],"data_offsets":[0,10]},)"
                             R"("brain":{"dtype":"BF16","shape":[3],"data_offsets":[10,16]}})";
  directory.write("model.safetensors",
                  safetensors(header, std::string("\x00\x3C\x00\xC0\x01\x00\xFF\x7B\x00\xFC"
                                                  "\x80\x3F\x00\x80\x40\x40",
                                                  16)));
  const FileWeights weights{Checkpoint(directory.path())};
  const WeightVector half = weights.vector("half", 5), brain = weights.vector("brain", 3);
  const float want_half[] = {1, -2, 0x1p-24f, 65504, -std::numeric_limits<float>::infinity()};
  const float want_brain[] = {1, -0.0f, 3};
  EXPECT_EQ(std::memcmp(half.view.data, want_half, sizeof want_half), 0);
  EXPECT_EQ(std::memcmp(brain.view.data, want_brain, sizeof want_brain), 0);
}

/// Values of a tensor of the small model: multiples of 1/8, which every dtype holds.
std::vector<float> small_values(const std::string& name, std::int64_t count) {
  Rng rng(std::hash<std::string>()(name));
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(rng.below(17) - 8) / 8;
  return values;
}

std::uint16_t to_16_bits(float value, const std::string& dtype) {
  if (dtype == "BF16") return static_cast<std::uint16_t>(bits(value) >> 16);
  const std::uint32_t rest =
      bits(std::abs(value) * 0x1p-112f) >> 13;  // the exponent's bias is less
  return static_cast<std::uint16_t>(rest | (value < 0 ? 0x8000u : 0u));
}

std::string encoded(const std::vector<float>& values, const std::string& dtype) {
  if (dtype == "F32")
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
  std::string bytes;
  for (const float value : values) {
    const std::uint16_t word = to_16_bits(value, dtype);
    bytes += static_cast<char>(word & 0xFF);
    bytes += static_cast<char>(word >> 8);
  }
  return bytes;
}

/// All tensors that small_config() asks for; `head`, if not empty, names what fills lm_head.weight.
std::vector<TensorFields> small_tensors(const std::string& dtype, const std::string& head = "") {
  std::vector<TensorFields> tensors;
  const auto add = [&](const std::string& name, const std::vector<std::int64_t>& shape,
                       const std::string& values_of) {
    std::int64_t count = 1;
    for (const std::int64_t extent : shape) count *= extent;
    tensors.push_back({name, dtype, shape, encoded(small_values(values_of, count), dtype)});
  };
  const std::string embedding = "model.embed_tokens.weight", layer = "model.layers.0.";
  add(embedding, {300, 8}, embedding);
  add("model.norm.weight", {8}, "norm");
  for (const char* norm : {"input_layernorm", "post_attention_layernorm"})
    add(layer + norm + ".weight", {8}, norm);
  const std::pair<const char*, std::vector<std::int64_t>> maps[] = {
      {"self_attn.q_proj", {8, 8}}, {"self_attn.k_proj", {4, 8}}, {"self_attn.v_proj", {4, 8}},
      {"self_attn.o_proj", {8, 8}}, {"mlp.gate_proj", {12, 8}},   {"mlp.up_proj", {12, 8}},
      {"mlp.down_proj", {8, 12}}};
  for (const auto& [name, shape] : maps) add(layer + name + ".weight", shape, name);
  if (!head.empty()) add("lm_head.weight", {300, 8}, head);
  return tensors;
}

/// What older checkpoints hold beside the weights.
constexpr const char* kBuffer = "model.layers.0.self_attn.rotary_emb.inv_freq";

/// Bits of the logits of a model in `directory` after three tokens.
std::uint64_t logits_of(const Directory& directory, bool tied, const ModelOptions& options = {}) {
  nlohmann::json config = small_config();
  config["tie_word_embeddings"] = tied;
  directory.write("config.json", config.dump());
  Session session(Model::load(directory.path(), options), Threads(1));
  const std::int32_t tokens[] = {1, 5, 299};
  return hash_bits(session.prefill(tokens));
}

std::uint64_t logits_of(const std::vector<TensorFields>& tensors, bool tied,
                        const ModelOptions& options = {}) {
  const Directory directory;
  directory.write("model.safetensors", safetensors(tensors));
  return logits_of(directory, tied, options);
}

TEST(Weights, EveryDtypeGivesTheSameModel) {
  const std::uint64_t expected = logits_of(small_tensors("F32"), true);
  EXPECT_EQ(logits_of(small_tensors("BF16"), true), expected);
  EXPECT_EQ(logits_of(small_tensors("F16"), true), expected);
  std::vector<TensorFields> unaligned = small_tensors("F32");
  unaligned.insert(unaligned.begin(), {kBuffer, "U8", {1}, "x"});
  EXPECT_EQ(logits_of(unaligned, true), expected);
}

TEST(Weights, OptionsRoundTheLinearMaps) {
  const std::uint64_t expected = logits_of(small_tensors("F32"), true);
  EXPECT_EQ(logits_of(small_tensors("F32"), true, {WeightType::kBF16}), expected);  // exact in it
  const std::uint64_t int8 = logits_of(small_tensors("F32"), true, {WeightType::kInt8});
  EXPECT_NE(int8, expected);
  EXPECT_EQ(logits_of(small_tensors("F16"), true, {WeightType::kInt8}), int8);
}

TEST(Weights, Int8NamesTheLayerOfAWeightThatIsNotFinite) {
  std::vector<TensorFields> tensors = small_tensors("BF16");
  for (TensorFields& tensor : tensors)
    if (tensor.name.ends_with("up_proj.weight")) tensor.bytes.replace(2 * 8, 2, "\x80\x7F");
  const Directory directory;
  directory.write("model.safetensors", safetensors(tensors));
  EXPECT_EQ(error_of([&] { logits_of(directory, true, {WeightType::kInt8}); }),
            directory.path().string() +
                " layer 0: Linear.weight, row 1: expected finite weights, "
                "as they become int8, got inf");
}

TEST(Weights, TensorsThatNothingReadsAreNamed) {
  std::vector<TensorFields> tensors = small_tensors("F32");
  tensors.push_back({"model.layers.0.self_attn.q_proj.bias", "F32", {8}, std::string(32, '\0')});
  EXPECT_TRUE(
      error_of([&] { logits_of(tensors, true); })
          .ends_with("model.safetensors model.layers.0.self_attn.q_proj.bias: expected a "
                     "tensor that the architecture of config.json has, got one that it does "
                     "not read"));
}

TEST(Weights, LoadingTellsHowFarItIs) {
  const Directory directory;
  directory.write("model.safetensors", safetensors(small_tensors("F32")));
  directory.write("config.json", small_config().dump());
  std::vector<std::int64_t> told;
  Model::load(directory.path(), {}, [&](std::int64_t done, std::int64_t parts) {
    told.insert(told.end(), {done, parts});
  });
  EXPECT_EQ(told, (std::vector<std::int64_t>{1, 2}));
}

TEST(Weights, ShardsGiveTheModelOfOneFile) {
  const std::vector<TensorFields> tensors = small_tensors("BF16");
  const Directory directory;
  nlohmann::json map;
  for (std::size_t shard = 0; shard < 3; ++shard) {
    const std::string name = "model-0000" + std::to_string(shard + 1) + "-of-00003.safetensors";
    std::vector<TensorFields> part;
    for (std::size_t n = shard; n < tensors.size(); n += 3) {
      part.push_back(tensors[n]);
      map[tensors[n].name] = name;
    }
    directory.write(name, safetensors(part));
  }
  directory.write("model.safetensors.index.json", nlohmann::json{{"weight_map", map}}.dump());
  EXPECT_EQ(logits_of(directory, true), logits_of(tensors, true));
}

TEST(Weights, TiedHeadIsTheEmbeddingUnlessTheFileHasAnother) {
  const std::uint64_t tied = logits_of(small_tensors("F32"), true);
  const std::uint64_t other = logits_of(small_tensors("F32", "other"), false);
  EXPECT_NE(tied, other);
  EXPECT_EQ(logits_of(small_tensors("F32", "model.embed_tokens.weight"), true), tied);
  EXPECT_EQ(logits_of(small_tensors("F32", "model.embed_tokens.weight"), false), tied);
  EXPECT_EQ(logits_of(small_tensors("F32", "other"), true), other);
  EXPECT_NE(error_of([] {
              logits_of(small_tensors("F32"), false);
            }).find("expected a tensor lm_head.weight, got none"),
            std::string::npos);
}

TEST(Weights, OtherDtypesAreNamed) {
  EXPECT_NE(error_of([] {
              std::vector<TensorFields> tensors = small_tensors("F32");
              tensors[0].dtype = "I32";
              logits_of(tensors, true);
            }).find("model.embed_tokens.weight: expected F32, BF16 or F16, got I32"),
            std::string::npos);
}

}  // namespace
}  // namespace rapt::test
