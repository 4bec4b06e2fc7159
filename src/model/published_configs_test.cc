// The config.json of published models, field by field as their authors wrote it (but lists of
// factors, of which only the length counts here): each is read, none is refused.

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "rapt/model.h"

namespace rapt::test {
namespace {

/// A file, and what its first two layers are.
struct Published {
  const char* name;
  std::string config;
  std::vector<std::int64_t> heads;  ///< layers, q heads, kv heads, head_dim
  std::int64_t context;
  std::vector<std::int64_t> windows;
  double theta;       ///< of the first layer; 0 where positions are not rotary
  std::int64_t dims;  ///< the same, rotated
  std::string scaling;
  std::optional<float> softcap = {}, final_softcap = {};
};

void PrintTo(const Published& model, std::ostream* out) { *out << model.name; }

/// 48 of them, as of heads of 96 features.
std::string factors() { return nlohmann::json(std::vector<double>(48, 1.25)).dump(); }

std::string gemma2(const std::string& shape) {
  return R"({"architectures": ["Gemma2ForCausalLM"], "attention_bias": false,
    "attention_dropout": 0.0, "attn_logit_softcapping": 50.0, "bos_token_id": 2,
    "cache_implementation": "hybrid", "eos_token_id": 1, "final_logit_softcapping": 30.0,
    "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
    "initializer_range": 0.02, "max_position_embeddings": 8192, "model_type": "gemma2",
    "pad_token_id": 0, "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "sliding_window": 4096,
    "torch_dtype": "float32", "transformers_version": "4.42.4", "use_cache": true,
    "vocab_size": 256000, )" +
         shape + "}";
}

std::string mistral(const std::string& version) {
  return R"({"architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
    "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
    "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mistral",
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    "transformers_version": "4.34.0.dev0", "use_cache": true, )" +
         version + "}";
}

std::string phi3(const std::string& version) {
  return R"({"architectures": ["Phi3ForCausalLM"], "attention_bias": false,
    "attention_dropout": 0.0, "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config",
    "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}, "embd_pdrop": 0.0,
    "hidden_act": "silu", "hidden_size": 3072, "initializer_range": 0.02,
    "intermediate_size": 8192, "model_type": "phi3", "num_hidden_layers": 32,
    "original_max_position_embeddings": 4096, "resid_pdrop": 0.0, "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0, "torch_dtype": "bfloat16", "use_cache": true, )" +
         version + "}";
}

class PublishedConfig : public testing::TestWithParam<Published> {};

TEST_P(PublishedConfig, IsRead) {
  const Published& want = GetParam();
  const ModelConfig config = ModelConfig::parse(want.config);
  EXPECT_EQ((std::vector{config.num_hidden_layers, config.num_attention_heads,
                         config.num_key_value_heads, config.head_dim}),
            want.heads);
  EXPECT_EQ(config.context(), want.context);
  EXPECT_EQ((std::vector{config.layers[0].window, config.layers[1].window}), want.windows);
  EXPECT_EQ(config.layers[0].softcap, want.softcap);
  EXPECT_EQ(config.final_logit_softcapping, want.final_softcap);
  const std::optional<RotaryConfig>& rotary = config.layers[0].rotary;
  ASSERT_EQ(rotary.has_value(), want.theta > 0);
  if (!rotary) return;
  EXPECT_EQ(rotary->theta, want.theta);
  EXPECT_EQ(rotary->dims, want.dims);
  EXPECT_EQ(name(rotary->scaling), want.scaling);
}

INSTANTIATE_TEST_SUITE_P(
    Models, PublishedConfig,
    testing::ValuesIn(std::vector<Published>{
        {"Llama 3.1 8B",
         R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false,
             "attention_dropout": 0.0, "bos_token_id": 128000, "eos_token_id": 128001,
             "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
             "intermediate_size": 14336, "max_position_embeddings": 131072, "mlp_bias": false,
             "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
             "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
             "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
             "original_max_position_embeddings": 8192, "rope_type": "llama3"},
             "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
             "transformers_version": "4.43.0.dev0", "use_cache": true, "vocab_size": 128256})",
         {32, 32, 8, 128},
         131072,
         {0, 0},
         5e5,
         128,
         "llama3"},
        {"Mistral 7B v0.1",
         mistral(R"("rope_theta": 10000.0, "sliding_window": 4096, "vocab_size": 32000)"),
         {32, 32, 8, 128},
         32768,
         {4096, 4096},
         1e4,
         128,
         "default"},
        {"Mistral 7B v0.3",
         mistral(R"("attention_dropout": 0.0, "rope_theta": 1000000.0, "sliding_window": null,
                    "vocab_size": 32768)"),
         {32, 32, 8, 128},
         32768,
         {0, 0},
         1e6,
         128,
         "default"},
        {"Qwen2.5 7B",
         R"({"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0,
             "bos_token_id": 151643, "eos_token_id": 151643, "hidden_act": "silu",
             "hidden_size": 3584, "initializer_range": 0.02, "intermediate_size": 18944,
             "max_position_embeddings": 131072, "max_window_layers": 28, "model_type": "qwen2",
             "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4,
             "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 131072,
             "tie_word_embeddings": false, "torch_dtype": "bfloat16",
             "transformers_version": "4.40.1", "use_cache": true, "use_mrope": false,
             "use_sliding_window": false, "vocab_size": 152064})",
         {28, 28, 4, 128},
         131072,
         {0, 0},
         1e6,
         128,
         "default"},
        {"Qwen3 8B",
         R"({"architectures": ["Qwen3ForCausalLM"], "attention_bias": false,
             "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645,
             "head_dim": 128, "hidden_act": "silu", "hidden_size": 4096,
             "initializer_range": 0.02, "intermediate_size": 12288,
             "max_position_embeddings": 40960, "max_window_layers": 36, "model_type": "qwen3",
             "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8,
             "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000,
             "sliding_window": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
             "transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false,
             "vocab_size": 151936})",
         {36, 32, 8, 128},
         40960,
         {0, 0},
         1e6,
         128,
         "default"},
        {"OLMo 2 7B",
         R"({"architectures": ["Olmo2ForCausalLM"], "attention_bias": false,
             "attention_dropout": 0.0, "eos_token_id": 100257, "hidden_act": "silu",
             "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008,
             "max_position_embeddings": 4096, "model_type": "olmo2", "num_attention_heads": 32,
             "num_hidden_layers": 32, "num_key_value_heads": 32, "pad_token_id": 100277,
             "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 500000,
             "tie_word_embeddings": false, "torch_dtype": "float32",
             "transformers_version": "4.47.0.dev0", "use_cache": true, "vocab_size": 100352})",
         {32, 32, 32, 128},
         4096,
         {0, 0},
         5e5,
         128,
         "default"},
        {"Gemma 2 2B",
         gemma2(R"("head_dim": 256, "hidden_size": 2304, "intermediate_size": 9216,
                   "num_attention_heads": 8, "num_hidden_layers": 26, "num_key_value_heads": 4,
                   "query_pre_attn_scalar": 256)"),
         {26, 8, 4, 256},
         8192,
         {4096, 0},
         1e4,
         256,
         "default",
         50.0f,
         30.0f},
        {"Gemma 2 9B",
         gemma2(R"("head_dim": 256, "hidden_size": 3584, "intermediate_size": 14336,
                   "num_attention_heads": 16, "num_hidden_layers": 42, "num_key_value_heads": 8,
                   "query_pre_attn_scalar": 256, "sliding_window_size": 4096)"),
         {42, 16, 8, 256},
         8192,
         {4096, 0},
         1e4,
         256,
         "default",
         50.0f,
         30.0f},
        {"Gemma 2 27B",
         gemma2(R"("head_dim": 128, "hidden_size": 4608, "intermediate_size": 36864,
                   "num_attention_heads": 32, "num_hidden_layers": 46, "num_key_value_heads": 16,
                   "query_pre_attn_scalar": 144, "sliding_window_size": 4096,
                   "_attn_implementation": "eager")"),
         {46, 32, 16, 128},
         8192,
         {4096, 0},
         1e4,
         128,
         "default",
         50.0f,
         30.0f},
        {"Gemma 3 1B",
         R"({"architectures": ["Gemma3ForCausalLM"], "attention_bias": false,
             "attention_dropout": 0.0, "attn_logit_softcapping": null, "bos_token_id": 2,
             "cache_implementation": "hybrid", "eos_token_id": [1, 106],
             "final_logit_softcapping": null, "head_dim": 256,
             "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152,
             "initializer_range": 0.02, "intermediate_size": 6912,
             "max_position_embeddings": 32768, "model_type": "gemma3_text",
             "num_attention_heads": 4, "num_hidden_layers": 26, "num_key_value_heads": 1,
             "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
             "rope_local_base_freq": 10000, "rope_scaling": null, "rope_theta": 1000000,
             "sliding_window": 512, "sliding_window_pattern": 6, "torch_dtype": "bfloat16",
             "transformers_version": "4.50.0.dev0", "use_cache": true, "vocab_size": 262144})",
         {26, 4, 1, 256},
         32768,
         {512, 512},
         1e4,
         256,
         "default"},
        {"Phi-3 mini 4k",
         phi3(R"("_name_or_path": "Phi-3-mini-4k-instruct", "bos_token_id": 1,
                 "eos_token_id": 32000, "max_position_embeddings": 4096,
                 "num_attention_heads": 32, "num_key_value_heads": 32, "pad_token_id": 32000,
                 "rope_scaling": null, "sliding_window": 2047, "tie_word_embeddings": false,
                 "transformers_version": "4.40.2", "vocab_size": 32064)"),
         {32, 32, 32, 96},
         4096,
         {2047, 2047},
         1e4,
         96,
         "default"},
        {"Phi-3 mini 128k",
         phi3(R"("_name_or_path": "Phi-3-mini-128k-instruct", "bos_token_id": 1,
                 "eos_token_id": 32000, "max_position_embeddings": 131072,
                 "num_attention_heads": 32, "num_key_value_heads": 32, "pad_token_id": 32000,
                 "sliding_window": 262144, "tie_word_embeddings": false,
                 "transformers_version": "4.40.2", "vocab_size": 32064,
                 "rope_scaling": {"type": "longrope", "long_factor": )" +
              factors() + R"(, "short_factor": )" + factors() + "}"),
         {32, 32, 32, 96},
         131072,
         {262144, 262144},
         1e4,
         96,
         "longrope"},
        {"Phi-4 mini",
         phi3(R"("bos_token_id": 199999, "eos_token_id": 199999, "full_attn_mod": 1,
                 "interpolate_factor": 1, "lm_head_bias": false,
                 "max_position_embeddings": 131072, "mlp_bias": false,
                 "num_attention_heads": 24, "num_key_value_heads": 8, "pad_token_id": 199999,
                 "partial_rotary_factor": 0.75, "sliding_window": 262144,
                 "tie_word_embeddings": true, "transformers_version": "4.45.0",
                 "vocab_size": 200064, "rope_scaling": {"type": "longrope", "long_factor": )" +
              factors() + R"(, "short_factor": )" + factors() + "}"),
         {32, 24, 8, 128},
         131072,
         {262144, 262144},
         1e4,
         96,
         "longrope"},
        {"GPT-2",
         R"({"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"],
             "attn_pdrop": 0.1, "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256,
             "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "gpt2",
             "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
             "resid_pdrop": 0.1, "summary_activation": null, "summary_first_dropout": 0.1,
             "summary_proj_to_labels": true, "summary_type": "cls_index",
             "summary_use_proj": true, "task_specific_params": {"text-generation":
             {"do_sample": true, "max_length": 50}}, "vocab_size": 50257})",
         {12, 12, 12, 64},
         1024,
         {0, 0},
         0,
         0,
         ""},
        {"Pythia 160M",
         R"({"architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0,
             "hidden_act": "gelu", "hidden_size": 768, "initializer_range": 0.02,
             "intermediate_size": 3072, "layer_norm_eps": 1e-05,
             "max_position_embeddings": 2048, "model_type": "gpt_neox",
             "num_attention_heads": 12, "num_hidden_layers": 12, "rotary_emb_base": 10000,
             "rotary_pct": 0.25, "tie_word_embeddings": false, "torch_dtype": "float16",
             "transformers_version": "4.24.0", "use_cache": true,
             "use_parallel_residual": true, "vocab_size": 50304})",
         {12, 12, 12, 64},
         2048,
         {0, 0},
         1e4,
         16,
         "default"},
        {"BLOOM 560M",
         R"({"apply_residual_connection_post_layernorm": false, "attention_dropout": 0.0,
             "attention_softmax_in_fp32": true, "architectures": ["BloomForCausalLM"],
             "bias_dropout_fusion": true, "bos_token_id": 1, "eos_token_id": 2,
             "pad_token_id": 3, "unk_token_id": 0, "hidden_dropout": 0.0,
             "initializer_range": 0.02, "layer_norm_epsilon": 1e-05,
             "masked_softmax_fusion": true, "model_type": "bloom", "n_embed": 1024,
             "n_inner": null, "n_layer": 24, "num_attention_heads": 16, "offset_alibi": 100,
             "pretraining_tp": 1, "skip_bias_add": true, "skip_bias_add_qkv": false,
             "transformers_version": "4.20.0", "use_cache": true, "vocab_size": 250880})",
         {24, 16, 16, 64},
         2048,
         {0, 0},
         0,
         0,
         ""},
        {"T5 small",
         R"({"architectures": ["T5ForConditionalGeneration"], "d_ff": 2048, "d_kv": 64,
             "d_model": 512, "decoder_start_token_id": 0, "dropout_rate": 0.1,
             "eos_token_id": 1, "initializer_factor": 1.0, "is_encoder_decoder": true,
             "layer_norm_epsilon": 1e-06, "model_type": "t5", "n_positions": 512,
             "num_heads": 8, "num_layers": 6, "output_past": true, "pad_token_id": 0,
             "relative_attention_num_buckets": 32, "task_specific_params": {"summarization":
             {"early_stopping": true, "length_penalty": 2.0, "max_length": 200,
              "min_length": 30, "no_repeat_ngram_size": 3, "num_beams": 4,
              "prefix": "summarize: "}}, "vocab_size": 32128})",
         {6, 8, 8, 64},
         512,
         {0, 0},
         0,
         0,
         ""},
        {"BART large CNN",
         R"({"_num_labels": 3, "activation_dropout": 0.0, "activation_function": "gelu",
             "add_final_layer_norm": false, "architectures": ["BartForConditionalGeneration"],
             "attention_dropout": 0.0, "bos_token_id": 0, "classif_dropout": 0.0,
             "classifier_dropout": 0.0, "d_model": 1024, "decoder_attention_heads": 16,
             "decoder_ffn_dim": 4096, "decoder_layerdrop": 0.0, "decoder_layers": 12,
             "decoder_start_token_id": 2, "dropout": 0.1, "early_stopping": true,
             "encoder_attention_heads": 16, "encoder_ffn_dim": 4096, "encoder_layerdrop": 0.0,
             "encoder_layers": 12, "eos_token_id": 2, "force_bos_token_to_be_generated": true,
             "forced_bos_token_id": 0, "forced_eos_token_id": 2,
             "gradient_checkpointing": false, "id2label": {"0": "LABEL_0"}, "init_std": 0.02,
             "is_encoder_decoder": true, "label2id": {"LABEL_0": 0}, "length_penalty": 2.0,
             "max_length": 142, "max_position_embeddings": 1024, "min_length": 56,
             "model_type": "bart", "no_repeat_ngram_size": 3, "normalize_before": false,
             "num_beams": 4, "num_hidden_layers": 12, "output_past": true, "pad_token_id": 1,
             "prefix": " ", "scale_embedding": false, "task_specific_params": {},
             "transformers_version": "4.7.0.dev0", "use_cache": true, "vocab_size": 50264})",
         {12, 16, 16, 64},
         1024,
         {0, 0},
         0,
         0,
         ""},
        {"OPUS-MT",
         R"({"activation_dropout": 0.0, "activation_function": "swish",
             "add_bias_logits": false, "add_final_layer_norm": false,
             "architectures": ["MarianMTModel"], "attention_dropout": 0.0,
             "bad_words_ids": [[53684]], "bos_token_id": 0, "classif_dropout": 0.0,
             "classifier_dropout": 0.0, "d_model": 512, "decoder_attention_heads": 8,
             "decoder_ffn_dim": 2048, "decoder_layerdrop": 0.0, "decoder_layers": 6,
             "decoder_start_token_id": 53684, "decoder_vocab_size": 53685, "dropout": 0.1,
             "dtype": "float32", "encoder_attention_heads": 8, "encoder_ffn_dim": 2048,
             "encoder_layerdrop": 0.0, "encoder_layers": 6, "eos_token_id": 0,
             "extra_pos_embeddings": 53685, "forced_eos_token_id": 0, "id2label": {"0": "LABEL_0"},
             "init_std": 0.02, "is_decoder": false, "is_encoder_decoder": true,
             "label2id": {"LABEL_0": 0}, "max_length": 512, "max_position_embeddings": 512,
             "model_type": "marian", "normalize_before": false, "normalize_embedding": false,
             "num_beams": 4, "num_hidden_layers": 6, "pad_token_id": 53684,
             "scale_embedding": true, "share_encoder_decoder_embeddings": true,
             "static_position_embeddings": true, "tie_word_embeddings": true,
             "transformers_version": "5.1.0", "use_cache": true, "vocab_size": 53685})",
         {6, 8, 8, 64},
         512,
         {0, 0},
         0,
         0,
         ""}}));

}  // namespace
}  // namespace rapt::test
