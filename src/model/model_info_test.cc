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
  ModelInfo read() const { return ModelInfo::read(directory_.path()); }

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

TEST_F(InfoFiles, CacheSizesAreThoseOfASession) {
  directory_.write("model.safetensors", safetensors("{}", ""));
  const ModelInfo info = read();
  const Session session(Model::random(info.config, 1));
  EXPECT_EQ(info.cache_bytes, session.cache_bytes());
  EXPECT_EQ(info.cache_bytes_per_token * 16, session.cache_bytes());  // of a context of 16
}

// Extents beside a 0 may have a product of more than 2^63: the undefined behaviour sanitizer looks.
TEST_F(InfoFiles, AnEmptyTensorOfHugeExtentsHasNoParameters) {
  directory_.write("model.safetensors",
                   safetensors({{"extra", "F32", {1ll << 40, 1ll << 40, 0}, ""}}));
  const ModelInfo info = read();
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
