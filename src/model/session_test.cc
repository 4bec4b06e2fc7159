#include "rapt/session.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "model/model_test_files.h"
#include "model/weights.h"
#include "rapt/error.h"
#include "rapt/sampler.h"

namespace rapt::test {
namespace {

Model small_model() { return Model::random(ModelConfig::parse(small_config().dump()), 1); }

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Session, BadInputLeavesItAsItWas) {
  const Model model = small_model();
  Session session(model, Threads(1), 4), untouched(model, Threads(1), 4);
  const std::int32_t begin[] = {1, 5, 299}, outside[] = {7, 300}, negative[] = {-1};
  session.prefill(begin);
  untouched.prefill(begin);
  EXPECT_EQ(message_of([&] { session.prefill(outside); }),
            "Session.tokens: expected at most 1, the room that is left, got 2");
  EXPECT_EQ(message_of([&] { session.prefill(negative); }),
            "Session.tokens[0]: expected 0 to 299, got -1");
  EXPECT_EQ(message_of([&] { session.prefill({}); }),
            "Session.tokens: expected at least one token, got none");
  EXPECT_EQ(session.length(), 3);
  const ConstTensor a = session.decode(9), b = untouched.decode(9);
  EXPECT_EQ(std::memcmp(a.data, b.data, 300 * sizeof(float)), 0);
  EXPECT_EQ(message_of([&] { session.decode(9); }),
            "Session.tokens: expected at most 0, the room that is left, got 1");
}

TEST(Session, CapacityIsWithinTheContext) {
  const Model model = small_model();
  EXPECT_EQ(Session(model).capacity(), 16);
  EXPECT_EQ(Session(model, Threads(1), 7).capacity(), 7);
  EXPECT_EQ(message_of([&] { Session(model, Threads(1), 17); }),
            "Session.capacity: expected 0 to 16, got 17");
  EXPECT_EQ(message_of([&] { Session(model).truncate(1); }),
            "Session.truncate: expected 0 to 0, got 1");
}

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  const float inf = std::numeric_limits<float>::infinity();
  const float logits[] = {-inf, 2.0f, NAN, 3.0f, 3.0f}, none[] = {-inf, NAN};
  EXPECT_EQ(greedy({logits, {1, 1, 1, 5}}), 3);
  EXPECT_EQ(message_of([&] {
              greedy({none, {1, 1, 1, 2}});
            }),
            "greedy.logits: expected a logit above -inf, got none");
}

TEST(Sampler, ProbabilitiesSumToOne) {
  const float logits[] = {1000.0f, 999.0f, -5.0f, 1001.5f};
  double sum = 0;
  for (int token = 0; token < 4; ++token)
    sum += std::exp(log_probability({logits, {1, 1, 1, 4}}, token));
  EXPECT_NEAR(sum, 1, 1e-14);
  EXPECT_NEAR(
      log_probability({logits, {1, 1, 1, 4}}, 0) - log_probability({logits, {1, 1, 1, 4}}, 1), 1,
      1e-12);
  EXPECT_THROW(log_probability({logits, {1, 1, 1, 4}}, 4), Error);
}

// A directory of files, gone at the end.
class Directory {
 public:
  Directory() : path_(testing::TempDir() + "/rapt_model_test") {
    std::filesystem::create_directories(path_);
  }
  ~Directory() { std::filesystem::remove_all(path_); }

  const std::filesystem::path& path() const { return path_; }
  void write(const char* name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
  }

 private:
  std::filesystem::path path_;
};

TEST(Model, WeightsAreCheckedAgainstTheConfig) {
  const Directory directory;
  EXPECT_NE(
      message_of([&] { Model::load(directory.path()); }).find("config.json: expected a readable"),
      std::string::npos);
  directory.write("config.json", small_config().dump());
  EXPECT_NE(message_of([&] { Model::load(directory.path()); }).find("model.safetensors: expected"),
            std::string::npos);
  directory.write("model.safetensors", safetensors("{}", ""));
  EXPECT_NE(message_of([&] {
              Model::load(directory.path());
            }).find("model.safetensors: expected a tensor model.embed_tokens.weight, got none"),
            std::string::npos);
  directory.write("model.safetensors",
                  safetensors(R"({"model.embed_tokens.weight":{"dtype":"F32","shape":[2],)"
                              R"("data_offsets":[0,8]}})",
                              "01234567"));
  EXPECT_NE(message_of([&] {
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
  const FileWeights weights(
      std::make_shared<SafetensorsFile>(directory.path() / "model.safetensors"));
  const WeightTensor half = weights.vector("half", 5), brain = weights.vector("brain", 3);
  const float want_half[] = {1, -2, 0x1p-24f, 65504, -std::numeric_limits<float>::infinity()};
  const float want_brain[] = {1, -0.0f, 3};
  EXPECT_EQ(std::memcmp(half.view.data, want_half, sizeof want_half), 0);
  EXPECT_EQ(std::memcmp(brain.view.data, want_brain, sizeof want_brain), 0);
}

}  // namespace
}  // namespace rapt::test
