// Loading a model: how much memory it takes at most.
#include "program.h"
#include "zero_model.h"

namespace rapt::test {
namespace {

const std::string kModel = RAPT_MODELS_DIR "/default";

constexpr int kHidden = 512, kMlp = 2048, kLayers = 24, kVocabulary = 2048;

/// What a loaded model keeps of write_deep_model(): 176 MiB.
constexpr std::size_t kKeptBytes =
    2u * kHidden * (2u * kVocabulary + kLayers * (4u * kHidden + 3u * kMlp));

/// A model of zeros in bf16.
void write_deep_model(const TestDirectory& directory) {
  nlohmann::json config = nlohmann::json::parse(content_of(kModel + "/config.json"));
  config["hidden_size"] = kHidden;
  config["intermediate_size"] = kMlp;
  config["num_hidden_layers"] = kLayers;
  config["num_attention_heads"] = config["num_key_value_heads"] = kHidden / 64;
  config["head_dim"] = 64;
  directory.write("config.json", config.dump());
  std::filesystem::copy(kModel + "/tokenizer.json", directory.file("tokenizer.json"));
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> tensors = {
      {"model.embed_tokens.weight", {kVocabulary, kHidden}}, {"model.norm.weight", {kHidden}}};
  for (int n = 0; n < kLayers; ++n) {
    const std::string layer = "model.layers." + std::to_string(n) + ".";
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"})
      tensors.push_back({layer + norm + ".weight", {kHidden}});
    for (const char* map : {"q_proj", "k_proj", "v_proj", "o_proj"})
      tensors.push_back({layer + "self_attn." + map + ".weight", {kHidden, kHidden}});
    for (const char* map : {"gate_proj", "up_proj"})
      tensors.push_back({layer + "mlp." + map + ".weight", {kMlp, kHidden}});
    tensors.push_back({layer + "mlp.down_proj.weight", {kHidden, kMlp}});
  }
  write_zeros(directory, "BF16", tensors);
}

TEST(LoadProgram, TakesLittleMoreMemoryThanTheWeightsThatItKeeps) {
  const TestDirectory directory;
  write_deep_model(directory);
  const std::vector<std::string> then = {"-p", "Once", "-n", "1", "--threads", "1"};
  const auto generate = [&](const std::string& model) {
    std::vector<std::string> arguments = {"generate", model};
    arguments.insert(arguments.end(), then.begin(), then.end());
    return measure(arguments);
  };
  const Measured small = generate(kModel), deep = generate(directory.file(""));
  ASSERT_EQ(small.status, 0);
  ASSERT_EQ(deep.status, 0);
  const double above = static_cast<double>(deep.peak_bytes) - static_cast<double>(small.peak_bytes);
  EXPECT_GE(above, 0.9 * kKeptBytes);  // or it measures something else
  EXPECT_LE(above, 1.1 * kKeptBytes);
}

}  // namespace
}  // namespace rapt::test
