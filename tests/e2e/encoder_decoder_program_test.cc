// Encoder-decoders on the command line, by a small random T5.
#include <gtest/gtest.h>

#include <cstdint>
#include <nlohmann/json.hpp>

#include "model/model_test_files.h"
#include "program.h"
#include "rapt/evaluate.h"
#include "rapt/sampler.h"
#include "rapt/session.h"
#include "rapt/tokenizer.h"

namespace rapt::test {
namespace {

/// A tensor of numbers within +-1, other ones for each name.
TensorFields tensor(const std::string& name, const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  std::vector<float> values;
  std::uint32_t state = 2166136261u;  // FNV-1a
  for (const char letter : name) state = (state ^ static_cast<unsigned char>(letter)) * 16777619u;
  for (std::int64_t n = 0; n < count; ++n) {
    state = state * 1664525u + 1013904223u;
    values.push_back(static_cast<float>(state >> 8) * 0x1p-23f - 1.0f);
  }
  return {name, "F32", shape, {reinterpret_cast<const char*>(values.data()), values.size() * 4}};
}

/// One layer each, d 8, 2 heads of 3.
std::vector<TensorFields> small_t5() {
  std::vector<TensorFields> all = {tensor("shared.weight", {266, 8}),
                                   tensor("encoder.final_layer_norm.weight", {8}),
                                   tensor("decoder.final_layer_norm.weight", {8})};
  const auto add_attention = [&](const std::string& sublayer, const std::string& kind) {
    all.push_back(tensor(sublayer + "layer_norm.weight", {8}));
    for (const char* map : {"q", "k", "v"})
      all.push_back(tensor(sublayer + kind + "." + map + ".weight", {6, 8}));
    all.push_back(tensor(sublayer + kind + ".o.weight", {8, 6}));
  };
  const auto add_mlp = [&](const std::string& sublayer) {
    all.push_back(tensor(sublayer + "layer_norm.weight", {8}));
    all.push_back(tensor(sublayer + "DenseReluDense.wi.weight", {12, 8}));
    all.push_back(tensor(sublayer + "DenseReluDense.wo.weight", {8, 12}));
  };
  for (const std::string stack : {"encoder", "decoder"}) {
    const std::string layer = stack + ".block.0.layer.";
    add_attention(layer + "0.", "SelfAttention");
    all.push_back(tensor(layer + "0.SelfAttention.relative_attention_bias.weight", {32, 2}));
    if (stack == "decoder") add_attention(layer + "1.", "EncDecAttention");
    add_mlp(layer + (stack == "decoder" ? "2." : "1."));
  }
  return all;
}

class EncoderDecoderProgram : public testing::Test {
 protected:
  EncoderDecoderProgram() {
    const nlohmann::json config = {{"architectures", {"T5ForConditionalGeneration"}},
                                   {"model_type", "t5"},
                                   {"vocab_size", 266},
                                   {"d_model", 8},
                                   {"d_kv", 3},
                                   {"d_ff", 12},
                                   {"num_layers", 1},
                                   {"num_heads", 2},
                                   {"n_positions", 40},
                                   {"eos_token_id", 2},
                                   {"decoder_start_token_id", 0}};
    directory_.write("config.json", config.dump());
    directory_.write("tokenizer.json", small_tokenizer().dump());
    directory_.write("model.safetensors", safetensors(small_t5()));
  }
  Outcome run(const std::string& command, const std::string& arguments) const {
    return rapt(command + " '" + directory_.path().string() + "' " + arguments);
  }

  const Directory directory_;
};

TEST_F(EncoderDecoderProgram, GeneratesFromTheEncodersInput) {
  const Model model = Model::load(directory_.path());
  const Tokenizer tokenizer = Tokenizer::load(directory_.path() / "tokenizer.json");
  for (const std::string source : {"abc ab", "ccc"}) {
    Session session(model);
    session.encode(tokenizer.encode(source));
    std::vector<std::int32_t> tokens, pending = {0};
    for (const std::int32_t token : tokenizer.encode("ab", false)) pending.push_back(token);
    const std::size_t prompt = pending.size();
    while (tokens.size() < 9 && (tokens.empty() || tokens.back() != 2)) {
      tokens.push_back(greedy(session.prefill(pending)));
      pending = {tokens.back()};
    }
    for (const std::string& arguments :
         {"--encoder-input '" + source + "'", "--encoder-input - <<< '" + source + "'"}) {
      const Outcome outcome = run("generate", "-p ab -n 9 --json " + arguments);
      ASSERT_EQ(outcome.status, 0) << outcome.errors;
      const nlohmann::json object = nlohmann::json::parse(outcome.output);
      EXPECT_EQ(object["tokens"], tokens);
      EXPECT_EQ(object["prompt_tokens"].size(), prompt);
      EXPECT_EQ(object["logprobs"].size(), tokens.size());
    }
  }
}

TEST_F(EncoderDecoderProgram, EndsWhereTheContextIsFull) {
  const Outcome outcome = run("generate", "--encoder-input abc -n 100");
  EXPECT_EQ(outcome.status, 3) << outcome.errors;
  EXPECT_NE(outcome.errors.find("the model's 40 tokens full after 40 new ones"), std::string::npos)
      << outcome.errors;
}

TEST_F(EncoderDecoderProgram, WhatIsMissingOrTooMuchIsNamed) {
  const Outcome none = run("generate", "-p ab");
  EXPECT_EQ(none.status, 1);
  EXPECT_NE(none.errors.find("--encoder-input: expected the text that the encoder of "
                             "T5ForConditionalGeneration reads, got none"),
            std::string::npos)
      << none.errors;
  const Outcome twice = run("generate", "-p - --encoder-input -");
  EXPECT_NE(twice.errors.find("-p: expected a text, as --encoder-input reads stdin, got '-'"),
            std::string::npos)
      << twice.errors;
  directory_.write("text.txt", "abc ab abc");
  const Outcome evaluated = run("eval", "'" + (directory_.path() / "text.txt").string() + "'");
  EXPECT_EQ(evaluated.status, 1);
  EXPECT_NE(evaluated.errors.find("evaluate.encoder_input: expected the tokens that the encoder of "
                                  "T5ForConditionalGeneration reads, got none"),
            std::string::npos)
      << evaluated.errors;
}

TEST_F(EncoderDecoderProgram, EvaluatesATextGivenTheEncodersInput) {
  directory_.write("text.txt", "abc ab abc");
  const std::string file = "'" + (directory_.path() / "text.txt").string() + "'";
  const auto nats = [&](const std::string& source) {
    const Outcome outcome = run("eval", file + " --json --encoder-input " + source);
    EXPECT_EQ(outcome.status, 0) << outcome.errors;
    return nlohmann::json::parse(outcome.output)["whole"]["nats"].get<double>();
  };
  const Tokenizer tokenizer = Tokenizer::load(directory_.path() / "tokenizer.json");
  EvaluationOptions how;
  how.encoder_input = tokenizer.encode("abc");
  const std::vector<std::int32_t> text = tokenizer.encode("abc ab abc", false);
  const double expected =
      evaluate(Model::load(directory_.path()), Threads(1), tokenizer.beginning(), text, how)
          .total_nats();
  EXPECT_EQ(nats("abc"), expected);
  EXPECT_NE(nats("ccc"), expected);
}

TEST_F(EncoderDecoderProgram, InfoShowsTheEncoderAndWhatItsOutputTakes) {
  const Outcome table = run("info", "");
  ASSERT_EQ(table.status, 0) << table.errors;
  for (const char* line :
       {"encoder             1 layers, MLP size 12\n", "  input             any length\n",
        "  attention         all tokens; positions relative, 32 buckets up to distance 128\n",
        "attention           causal; positions relative, 32 buckets up to distance 128\n",
        "  of the encoder    152 B a token of its input\n"})
    EXPECT_NE(table.output.find(line), std::string::npos) << line << table.output;
  const nlohmann::json object = nlohmann::json::parse(run("info", "--json").output);
  EXPECT_EQ(object["encoder"]["attention_heads"], 2);
  EXPECT_EQ(object["encoder"]["context"], nullptr);
  EXPECT_EQ(object["encoder"]["memory_bytes_per_token"], 2 * (3 + 16) * 4);
  EXPECT_EQ(object["parameters_by_part"].count("other"), 0u);
}

TEST_F(TrainedModel, OfADecoderTakesNoEncodersInput) {
  const Outcome outcome = rapt("generate '" + model_ + "' -p a --encoder-input b");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_NE(outcome.errors.find("--encoder-input: expected none, as LlamaForCausalLM has no "
                                "encoder, got one"),
            std::string::npos)
      << outcome.errors;
}

}  // namespace
}  // namespace rapt::test
