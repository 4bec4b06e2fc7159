// `rapt eval` and `rapt info` as a shell sees them.
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/isa.h"
#include "program.h"
#include "rapt/evaluate.h"
#include "rapt/model_info.h"
#include "rapt/tokenizer.h"

namespace rapt::test {
namespace {

using nlohmann::json;

class EvalProgram : public TrainedModel {
 protected:
  void SetUp() override {
    TrainedModel::SetUp();
    for (int n = 0; n < 40; ++n)
      text_ += "Once upon a time there was a dog number " + std::to_string(n) + ". It was big.\n";
    a_ = directory_.write("a.txt", text_);
    b_ = directory_.write("b.txt", "Tim and Sue went to the park. They saw a red ball.");
  }

  Outcome eval(const std::string& arguments, const std::string& variables = "") const {
    return rapt("eval '" + model_ + "' " + arguments, variables);
  }
  json report(const std::string& arguments, const std::string& variables = "") const {
    return json::parse(eval(arguments + " --json", variables).output);
  }

  const TestDirectory directory_;
  std::string text_, a_, b_;
};

TEST_F(EvalProgram, FiguresAreThoseOfTheLibrary) {
  const json got = report(a_ + " --context 64 --stride 16");
  const Tokenizer tokenizer = Tokenizer::load(model_);
  std::vector<std::int32_t> tokens = tokenizer.encode(text_);
  ASSERT_EQ(tokens.front(), 1);
  tokens.erase(tokens.begin());
  const Evaluation want =
      evaluate(Model::load(model_), Threads(1), std::vector<std::int32_t>{1}, tokens, {64, 16, {}});
  const Interval interval = bootstrap_interval(want.windows);
  const json& file = got["files"][0];
  EXPECT_EQ(file["nats"], want.total_nats());
  EXPECT_EQ(file["tokens"], tokens.size());
  EXPECT_EQ(file["bytes"], text_.size());
  EXPECT_EQ(file["windows"], want.windows.size());
  EXPECT_EQ(file["nats_per_token_95"], (json{interval.low, interval.high}));
  const double mean = want.total_nats() / static_cast<double>(tokens.size());
  EXPECT_EQ(file["nats_per_token"], mean);
  EXPECT_NEAR(file["perplexity"], std::exp(mean), 1e-12 * std::exp(mean));
  EXPECT_NEAR(file["bits_per_byte"],
              want.total_nats() / std::log(2.0) / static_cast<double>(text_.size()), 1e-13);
}

TEST_F(EvalProgram, TypesAreThoseOfTheLibrary) {
  const Tokenizer tokenizer = Tokenizer::load(model_);
  std::vector<std::int32_t> tokens = tokenizer.encode(text_);
  tokens.erase(tokens.begin());
  const auto nats_in = [&](const ModelOptions& options) {
    return evaluate(Model::load(model_, options), Threads(1), std::vector<std::int32_t>{1}, tokens)
        .total_nats();
  };
  const auto nats = [&](const std::string& options) {
    return report(a_ + options)["files"][0]["nats"];
  };
  EXPECT_EQ(nats(" --dtype f32"), nats(""));
  EXPECT_EQ(nats(" --dtype bf16"), nats_in({WeightType::kBF16, DType::kBF16}));
  EXPECT_EQ(nats(" --dtype native-bf16"),
            nats_in({WeightType::kNativeBF16, DType::kBF16, Arithmetic::kNativeBF16}));
  EXPECT_NE(nats(" --dtype native-bf16"), nats(" --dtype bf16"));
  EXPECT_EQ(nats(" --weights int8"), nats_in({WeightType::kInt8, DType::kF32}));
  EXPECT_EQ(nats(" --dtype bf16 --weights int8"), nats_in({WeightType::kInt8, DType::kBF16}));
  EXPECT_EQ(nats(" --cache int8"), nats_in({{}, DType::kInt8}));
  EXPECT_EQ(nats(" --dtype bf16 --cache fp8"), nats_in({WeightType::kBF16, DType::kF8E4M3}));
  EXPECT_EQ(eval(a_ + " --dtype native-bf16 --cache int8").status, 1);
  const Outcome dtype = eval(a_ + " --dtype f64"), weights = eval(a_ + " --weights ''");
  EXPECT_EQ(dtype.status, 2);
  EXPECT_NE(dtype.errors.find("--dtype: expected f32|bf16|native-bf16, got 'f64'"),
            std::string::npos)
      << dtype.errors;
  EXPECT_EQ(weights.status, 2);
  EXPECT_NE(weights.errors.find("--weights: expected int8, got ''"), std::string::npos)
      << weights.errors;
}

TEST_F(EvalProgram, TheWholeIsTotalsOverTotals) {
  const json got = report(a_ + " " + b_), alone = report(b_);
  EXPECT_EQ(got.size(), 6u);
  EXPECT_EQ(got["model"], model_);
  EXPECT_EQ(got["context"], 512);
  EXPECT_EQ(got["stride"], 256);
  EXPECT_GT(got["seconds"], 0.0);
  ASSERT_EQ(got["files"].size(), 2u);
  EXPECT_EQ(got["files"][1], alone["files"][0]);
  EXPECT_EQ(got["files"][1]["file"], b_);
  EXPECT_TRUE(got["files"][1]["nats_per_token_95"].is_null());  // one window
  const json &a = got["files"][0], &b = got["files"][1], &whole = got["whole"];
  EXPECT_EQ(a.size(), 9u);
  EXPECT_EQ(whole.size(), 8u);
  for (const char* sum : {"tokens", "bytes", "windows", "nats"})
    EXPECT_EQ(whole[sum].get<double>(), a[sum].get<double>() + b[sum].get<double>()) << sum;
  EXPECT_GT(whole["nats_per_token_95"][1], whole["nats_per_token_95"][0]);
  EXPECT_EQ(whole["nats_per_token"].get<double>(),
            whole["nats"].get<double>() / whole["tokens"].get<double>());
}

TEST_F(EvalProgram, SameFiguresForThreadsAndInstructionSets) {
  json want = report(a_ + " " + b_);
  want.erase("seconds");
  for (const Isa isa : supported_isas())
    for (const char* threads : {"1", "2", "3"}) {
      json got = report(a_ + " " + b_ + " --threads " + threads,
                        "RAPT_FORCE_ISA=" + std::string(name(isa)));
      got.erase("seconds");
      EXPECT_EQ(got, want) << name(isa) << ", threads " << threads;
    }
}

TEST_F(EvalProgram, TableHasALineAFile) {
  const Outcome outcome = eval(a_ + " " + b_);
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.errors, "");  // no progress where nobody waits
  EXPECT_EQ(outcome.output.find("context 512 tokens, stride 256\n\nfile "), 0u) << outcome.output;
  for (const std::string& name : {a_, b_, std::string("whole")})
    EXPECT_NE(outcome.output.find("\n" + name + " "), std::string::npos) << name;
  EXPECT_EQ(eval(b_).output.find("whole"), std::string::npos);
}

TEST_F(EvalProgram, RefusesTextsThatCannotBeScored) {
  const std::string empty = directory_.write("empty", ""), bad = directory_.write("bad", "abc\xff"),
                    single = directory_.write("single", "Once");
  const auto refuses = [&](const std::string& file, const std::string& message) {
    const Outcome outcome = eval(b_ + " " + file);  // before anything is computed
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(outcome.output, "");
    EXPECT_EQ(outcome.errors, "rapt: " + file + ": " + message + "\n");
  };
  refuses(empty, "expected a text, got an empty file");
  refuses(bad, "expected UTF-8, got another byte at 3");
  refuses(single, "expected a text of at least two tokens, got 1");
  EXPECT_EQ(eval(directory_.file("none")).errors.find("rapt: " + directory_.file("none") + ": "),
            0u);
  EXPECT_EQ(eval(b_ + " --stride 512").errors,
            "rapt: evaluate.stride: expected 1 to 511 tokens, got 512\n");
  EXPECT_EQ(eval(b_ + " --context 513").status, 1);
}

TEST_F(EvalProgram, AReaderThatLeavesEndsItQuietly) {
  const Outcome outcome = eval(a_ + " " + a_ + " " + a_ + " | head -c 7");
  EXPECT_EQ(outcome.output, "context");
  EXPECT_EQ(outcome.status, 0);
}

TEST_F(EvalProgram, NamesThatAreNotUtf8AreReplacedInJson) {
  const std::string file = directory_.write("\xff.txt", "Tim and Sue went to the park.");
  EXPECT_EQ(report("'" + file + "'")["files"][0]["file"], directory_.file("\uFFFD.txt"));
  const std::string link = directory_.file("\xfe");
  std::filesystem::create_directory_symlink(std::filesystem::absolute(model_), link);
  for (const char* arguments : {"' --json", "' --json -p Once -n 1"}) {
    const std::string command = std::string(arguments).ends_with("1") ? "generate '" : "info '";
    EXPECT_EQ(json::parse(rapt(command + link + arguments).output)["model"],
              directory_.file("\uFFFD"));
  }
}

class InfoProgram : public TrainedModel {};

TEST_F(InfoProgram, JsonIsOneObjectOfTheStatedForm) {
  const json got = json::parse(rapt("info '" + model_ + "' --json").output);
  const ModelInfo info = ModelInfo::read(model_);
  const json positions = {
      {"kind", "rotary"}, {"theta", 10000.0}, {"features", 8}, {"scaling", "default"}};
  EXPECT_EQ(
      got,
      (json{{"model", model_},
            {"architecture", "LlamaForCausalLM"},
            {"layers", 5},
            {"hidden_size", 64},
            {"intermediate_size", 172},
            {"attention_heads", 8},
            {"kv_heads", 4},
            {"head_dim", 8},
            {"context", 512},
            {"positions", positions},
            {"attention", std::vector<json>(5, {{"mask", "causal"}, {"positions", positions}})},
            {"vocabulary", 512},
            {"tied_head", true},
            {"parameters", 260032},
            {"parameters_by_part",
             {{"embedding", 512 * 64},
              {"attention", 5 * 64 * (64 + 32 + 32 + 64)},
              {"mlp", 5 * 3 * 64 * 172},
              {"norms", 11 * 64}}},
            {"parameters_by_dtype", {{"F32", 260032}}},
            {"weights_bytes", 4 * 260032},
            {"loaded_bytes", info.loaded_bytes},
            {"cache_bytes_per_token", info.cache_bytes_per_token},
            {"cache_bytes", info.cache_bytes}}));
}

TEST_F(InfoProgram, TypesSayWhatIsLoadedAndCached) {
  const auto bytes = [&](const std::string& options, const char* what) -> std::size_t {
    return json::parse(rapt("info '" + model_ + "' --json" + options).output)[what];
  };
  const auto in = [&](const ModelOptions& options) { return ModelInfo::read(model_, options); };
  EXPECT_EQ(bytes(" --dtype bf16", "loaded_bytes"), in({WeightType::kBF16}).loaded_bytes);
  EXPECT_EQ(bytes(" --weights int8", "loaded_bytes"), in({WeightType::kInt8}).loaded_bytes);
  EXPECT_LT(bytes(" --weights int8", "loaded_bytes"), bytes(" --dtype bf16", "loaded_bytes"));
  EXPECT_EQ(bytes(" --weights int8", "weights_bytes"), bytes("", "weights_bytes"));
  for (const char* cache : {"cache_bytes", "cache_bytes_per_token"})
    EXPECT_EQ(bytes(" --weights int8", cache), bytes("", cache));
  EXPECT_EQ(2 * bytes(" --dtype bf16", "cache_bytes_per_token"),
            bytes("", "cache_bytes_per_token"));
  EXPECT_EQ(bytes(" --dtype bf16", "cache_bytes"), in({{}, DType::kBF16}).cache_bytes);
  const Outcome bad = rapt("info '" + model_ + "' --weights int4");
  EXPECT_EQ(bad.status, 2);
  EXPECT_NE(bad.errors.find("--weights: expected int8, got 'int4'"), std::string::npos);
}

TEST_F(InfoProgram, TheHeadIsTiedOnlyWhereTheConfigSaysSo) {
  const TestDirectory directory;
  std::filesystem::copy(model_ + "/model.safetensors", directory.file("model.safetensors"));
  json config = json::parse(content_of(model_ + "/config.json"));
  config["tie_word_embeddings"] = false;
  directory.write("config.json", config.dump());
  const Outcome outcome = rapt("info --json '" + directory.file("") + "'");
  EXPECT_EQ(json::parse(outcome.output)["tied_head"], false);
}

TEST_F(InfoProgram, ScaledPositionsAreShown) {
  const TestDirectory directory;
  std::filesystem::copy(model_ + "/model.safetensors", directory.file("model.safetensors"));
  json config = json::parse(content_of(model_ + "/config.json"));
  config["rope_scaling"] = {
      {"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 1024}};
  directory.write("config.json", config.dump());
  const std::string command = "info '" + directory.file("") + "'";
  const std::string table = rapt(command).output;
  EXPECT_NE(table.find("rotary, theta 10000, yarn by 4 from 1,024 tokens\n"), std::string::npos)
      << table;
  const json got = json::parse(rapt(command + " --json").output);
  EXPECT_EQ(got["context"], 4096);
  EXPECT_EQ(got["positions"], (json{{"kind", "rotary"},
                                    {"theta", 10000.0},
                                    {"features", 8},
                                    {"scaling", "yarn"},
                                    {"factor", 4.0},
                                    {"original_context", 1024}}));
}

TEST_F(InfoProgram, TableSaysTheSame) {
  const Outcome outcome = rapt("info '" + model_ + "'");
  EXPECT_EQ(outcome.status, 0);
  for (const char* text :
       {"LlamaForCausalLM", "8 of dimension 8 over 4 key/value heads", "512 tokens", "260,032",
        "165,120", "F32", "1015.8 KiB", "1.1 MiB", "1.9 KiB a token"})
    EXPECT_NE(outcome.output.find(text), std::string::npos) << text << "\n" << outcome.output;
}

}  // namespace
}  // namespace rapt::test
