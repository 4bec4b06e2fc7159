#include "rapt/model_info.h"

#include <gtest/gtest.h>

#include "model/model_test_files.h"
#include "rapt/error.h"
#include "rapt/session.h"

namespace rapt::test {
namespace {

class InfoFiles : public testing::Test {
 protected:
  InfoFiles() { directory_.write("config.json", small_config().dump()); }
  ModelInfo read(const ModelOptions& options = {}) const {
    return ModelInfo::read(directory_.path(), options);
  }

  const Directory directory_;
};

TEST_F(InfoFiles, CountsParametersByPartAndType) {
  const std::string header =
      R"({"model.embed_tokens.weight":{"dtype":"BF16","shape":[3,2],"data_offsets":[0,12]},)"
      R"("model.layers.0.self_attn.q_proj.weight":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]},)"
      R"("model.layers.0.self_attn.q_norm.weight":{"dtype":"F32","shape":[1],"data_offsets":[16,20]},)"
      R"("model.layers.0.mlp.up_proj.weight":{"dtype":"BF16","shape":[2,2],"data_offsets":[20,28]},)"
      R"("lm_head.weight":{"dtype":"BF16","shape":[1,1],"data_offsets":[28,30]},)"
      R"("extra":{"dtype":"U8","shape":[5],"data_offsets":[30,35]}})";
  directory_.write("model.safetensors", safetensors(header, std::string(35, '\0')));
  const ModelInfo info = read();
  const std::vector<std::pair<std::string, int>> want = {
      {"embedding", 6}, {"attention", 2}, {"mlp", 4}, {"norms", 1}, {"head", 1}, {"other", 5}};
  ASSERT_EQ(info.parts.size(), want.size());
  for (std::size_t n = 0; n < want.size(); ++n) {
    EXPECT_EQ(info.parts[n].name, want[n].first);
    EXPECT_EQ(info.parts[n].parameters, want[n].second) << want[n].first;
  }
  EXPECT_EQ(info.parameters, 19);
  EXPECT_EQ(info.weights_bytes, 35u);
  EXPECT_EQ(info.dtypes,
            (std::map<std::string, std::int64_t>{{"BF16", 13}, {"F32", 1}, {"U8", 5}}));
}

TEST_F(InfoFiles, NamesOfEveryFamilyFallIntoParts) {
  const std::pair<const char*, const char*> parts[] = {
      {"transformer.wte.weight", "embedding"},
      {"transformer.wpe.weight", "embedding"},
      {"transformer.word_embeddings.weight", "embedding"},
      {"gpt_neox.embed_in.weight", "embedding"},
      {"transformer.h.0.attn.c_attn.bias", "attention"},
      {"gpt_neox.layers.0.attention.dense.weight", "attention"},
      {"h.0.self_attention.query_key_value.bias", "attention"},
      {"transformer.h.0.mlp.c_fc.weight", "mlp"},
      {"transformer.h.0.ln_1.weight", "norms"},
      {"word_embeddings_layernorm.weight", "norms"},
      {"embed_out.weight", "head"},
      {"shared.weight", "embedding"},
      {"model.shared.weight", "embedding"},
      {"model.encoder.embed_positions.weight", "embedding"},
      {"encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", "attention"},
      {"decoder.block.0.layer.1.EncDecAttention.q.weight", "attention"},
      {"decoder.block.0.layer.2.DenseReluDense.wi_0.weight", "mlp"},
      {"decoder.block.0.layer.2.layer_norm.weight", "norms"},
      {"model.decoder.layers.0.encoder_attn.k_proj.bias", "attention"},
      {"model.decoder.layers.0.encoder_attn_layer_norm.weight", "norms"},
      {"model.decoder.layers.0.fc1.weight", "mlp"},
      {"model.decoder.layernorm_embedding.weight", "norms"},
      {"h.0.attn.bias", "other"},
      {"gpt_neox.layers.0.attention.masked_bias", "other"},
      {"gpt_neox.layers.0.attention.rotary_emb.inv_freq", "other"},
  };
  for (const auto& [name, part] : parts) {
    directory_.write("model.safetensors", safetensors({{name, "F32", {1}, std::string(4, '\0')}}));
    ASSERT_EQ(read().parts.size(), 1u) << name;
    EXPECT_EQ(read().parts[0].name, part) << name;
  }
}

TEST_F(InfoFiles, CacheSizesAreThoseOfASession) {
  directory_.write("model.safetensors", safetensors("{}", ""));
  const ModelInfo info = read();
  const Session session(Model::random(info.config, 1));
  EXPECT_EQ(info.cache_bytes, session.cache_bytes());
  EXPECT_EQ(info.cache_bytes_per_token * 16, session.cache_bytes());  // of a context of 16
}

// Maps are packed in 16 outputs, the embedding stays as it is stored, a tied one is packed besides.
TEST_F(InfoFiles, LoadedBytesAndCachesAreThoseOfTheOptions) {
  const auto tensors = [&](bool with_head) {
    std::vector<TensorFields> list = {
        {"model.embed_tokens.weight", "BF16", {20, 8}, std::string(2 * 20 * 8, '\0')},
        {"model.layers.0.self_attn.q_proj.weight", "F32", {24, 8}, std::string(4 * 24 * 8, '\0')},
        {"model.layers.0.mlp.up_proj.weight", "F16", {16, 8}, std::string(2 * 16 * 8, '\0')},
        {"model.norm.weight", "BF16", {8}, std::string(2 * 8, '\0')},
        {"model.layers.0.rotary.inv_freq", "F32", {4}, std::string(4 * 4, '\0')}};
    if (with_head)
      list.push_back({"lm_head.weight", "F32", {20, 8}, std::string(4 * 20 * 8, '\0')});
    return safetensors(list);
  };
  nlohmann::json config = small_config();
  config["tie_word_embeddings"] = true;
  directory_.write("config.json", config.dump());
  const std::size_t fixed = 2 * 20 * 8 + 4 * 8, q = 32 * 8, up = 16 * 8, head = 32 * 8;

  directory_.write("model.safetensors", tensors(false));
  EXPECT_EQ(read().loaded_bytes, fixed + 4 * q + 2 * up + 2 * head);
  EXPECT_EQ(read({WeightType::kBF16}).loaded_bytes, fixed + 2 * (q + up + head));
  EXPECT_EQ(read({WeightType::kInt8}).loaded_bytes, fixed + q + up + head + 4 * (32 + 16 + 32));
  const std::size_t in_f32 = read().cache_bytes_per_token;
  EXPECT_EQ(read({{}, DType::kBF16}).cache_bytes_per_token, in_f32 / 2);
  EXPECT_EQ(read({{}, DType::kInt8}).cache_bytes_per_token, in_f32 / 4 + 8);
  EXPECT_EQ(read({{}, DType::kBF16}).cache_bytes, 16 * in_f32 / 2);
  directory_.write("model.safetensors", tensors(true));  // a head that is there is used
  EXPECT_EQ(read().loaded_bytes, fixed + 4 * q + 2 * up + 4 * head);
}

TEST_F(InfoFiles, AHeadOfAnyNameIsNotTied) {
  const auto loaded = [&](const char* head) {
    directory_.write("model.safetensors",
                     safetensors({{"embed.weight", "F32", {16, 8}, std::string(512, '\0')},
                                  {head, "F32", {16, 8}, std::string(512, '\0')}}));
    return read().loaded_bytes;
  };
  EXPECT_EQ(loaded("lm_head.weight"), 2 * 512u);
  EXPECT_EQ(loaded("embed_out.weight"), 2 * 512u);
}

// Extents beside a 0 may have a product of more than 2^63: the undefined behaviour sanitizer looks.
TEST_F(InfoFiles, AnEmptyTensorOfHugeExtentsHasNoParameters) {
  directory_.write("model.safetensors",
                   safetensors({{"extra", "F32", {1ll << 40, 1ll << 40, 0}, ""},
                                {"mlp.weight", "F32", {INT64_MAX, 0}, ""}}));
  const ModelInfo info = read({WeightType::kInt8});
  EXPECT_EQ(info.loaded_bytes, 0u);
  EXPECT_EQ(info.parameters, 0);
  EXPECT_TRUE(info.parts.empty());
}

TEST_F(InfoFiles, AMissingFileIsNamed) {
  try {
    read();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("model.safetensors"), std::string::npos);
  }
}

}  // namespace
}  // namespace rapt::test
