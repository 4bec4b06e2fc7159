"""Random-weight models of many families, small, with attention that is sharp."""

from dataclasses import dataclass
from functools import cache

import torch
import transformers

VOCABULARY = 131
WINDOW = 6


@dataclass(frozen=True, eq=False)
class Family:
    """How to make a model, and what its attention has that a fault can leave out."""

    config: str
    options: dict
    model: str = ""  # named after the configuration, if not given
    traits: tuple = ()  # window, softcap, sinks, position bias

    def make(self):
        options = {**COMMON, **self.options}
        config = getattr(transformers, self.config)(**options)
        name = self.model or self.config.replace("Config", "ForCausalLM")
        torch.manual_seed(5)
        model = getattr(transformers, name)._from_config(config, attn_implementation="eager").eval()
        sharpen(model)
        return model


@cache
def family_model(name):
    """The model of a family, the same at every call."""
    return FAMILIES[name].make()


COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.15,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
ENCODER_DECODER = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "init_std": 0.15,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
}

FAMILIES = {
    "llama": Family("LlamaConfig", GROUPED),
    "mistral": Family("MistralConfig", {**GROUPED, "sliding_window": WINDOW}, traits=("window",)),
    "qwen2": Family("Qwen2Config", {"num_key_value_heads": 2}),
    "qwen3": Family("Qwen3Config", GROUPED),
    "gemma2": Family(
        "Gemma2Config",
        {**GROUPED, **MIXED, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 8.0},
        traits=("window", "softcap"),
    ),
    "gemma3": Family(
        "Gemma3TextConfig",
        {**GROUPED, **MIXED, "query_pre_attn_scalar": 8},
        "Gemma3ForCausalLM",
        traits=("window",),
    ),
    "phi3": Family("Phi3Config", {"num_key_value_heads": 2}),
    "gpt2": Family("GPT2Config", {"n_inner": 48}, "GPT2LMHeadModel"),
    "gpt_neox": Family("GPTNeoXConfig", {}),
    "bloom": Family("BloomConfig", {"n_head": 4, "n_layer": 2}),
    "gpt_oss": Family(
        "GptOssConfig",
        {**GROUPED, **MIXED, "num_local_experts": 2, "num_experts_per_tok": 1},
        traits=("window", "sinks"),
    ),
    "olmo2": Family("Olmo2Config", {"num_key_value_heads": 2}),
    "t5": Family(
        "T5Config",
        {
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 48,
            "num_layers": 2,
            "num_heads": 4,
            "initializer_factor": 2.0,
            "decoder_start_token_id": 1,
        },
        "T5ForConditionalGeneration",
        traits=("position bias",),
    ),
    "bart": Family("BartConfig", ENCODER_DECODER, "BartForConditionalGeneration"),
}


def sharpen(model, target=0.65):
    """Scales queries until the mean entropy of attention is below `target` ln n."""
    for _ in range(40):
        if mean_entropy(model) < target:
            return
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if any(part in name for part in QUERIES):
                    weight += 0.5 if "norm" in name else 0.3 * weight
    raise AssertionError("attention stays flat")


QUERIES = (
    "q_norm",
    "q_proj.weight",
    "qkv_proj.weight",
    "query_key_value.weight",
    "c_attn.weight",
    ".q.weight",
)


@torch.no_grad()
def mean_entropy(model):
    """Mean over layers, heads and rows of the entropy, as a share of ln n of the n visible keys."""
    tokens = torch.randint(1, VOCABULARY, (2, 24), generator=torch.Generator().manual_seed(1))
    extra = {"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {}
    output = model(tokens, output_attentions=True, **extra)
    shares = []
    for key in ("attentions", "encoder_attentions", "decoder_attentions", "cross_attentions"):
        for weights in getattr(output, key, None) or ():
            keys = (weights > 0).sum(-1)
            entropy = -torch.xlogy(weights, weights).sum(-1)
            shares.append((entropy / keys.clamp(min=2).log())[keys > 1])
    return torch.cat(shares).mean().item()


def relative(got, want):
    """Largest difference, as a share of the largest magnitude of `want`."""
    return ((got - want).abs().max() / want.abs().max()).item()


def saved_once(tmp_path_factory, reference):
    """A function that gives the directory of each model, which is saved at the first call."""
    made = {}

    def directory(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("family")
            reference(name).save_pretrained(made[name])
        return made[name]

    return directory
