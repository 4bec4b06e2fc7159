"""Models of every family against transformers' eager f32: logits, caches, generation, and faults
planted into configuration and weights, which must show."""

import copy
import json
from functools import cache

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from families import (
    FAMILIES,
    GROUPED,
    VOCABULARY,
    WINDOW,
    Family,
    mean_entropy,
    relative,
    saved_once,
    sharpen,
)

import rapt

TOLERANCE = 1e-4  # of the largest logit
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.5],
    "long_factor": [2.0, 6.0],
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.5,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
WINDOWED = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}
LINEAR = {
    "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
MADE = {
    "llama": FAMILIES["llama"],
    "llama 3": Family("LlamaConfig", {**GROUPED, "rope_parameters": LLAMA3}),
    "mistral": FAMILIES["mistral"],
    "qwen2": FAMILIES["qwen2"],
    "qwen2 windows": Family("Qwen2Config", {"num_key_value_heads": 2, **WINDOWED}),
    "qwen3": FAMILIES["qwen3"],
    "olmo2": FAMILIES["olmo2"],
    "gemma2": FAMILIES["gemma2"],
    "gemma3": FAMILIES["gemma3"],
    "gemma3 scaled": Family(
        "Gemma3TextConfig",
        {**FAMILIES["gemma3"].options, "rope_parameters": LINEAR},
        "Gemma3ForCausalLM",
    ),
    "phi3": FAMILIES["phi3"],
    "phi3 longrope": Family(
        "Phi3Config",
        {
            "num_key_value_heads": 2,
            "max_position_embeddings": 320,
            "original_max_position_embeddings": 32,
            "rope_parameters": LONGROPE,
        },
    ),
    "gpt2": FAMILIES["gpt2"],
    "gpt2 by layer": Family(
        "GPT2Config", {"n_inner": 48, "scale_attn_by_inverse_layer_idx": True}, "GPT2LMHeadModel"
    ),
    "gpt_neox": FAMILIES["gpt_neox"],
    "gpt_neox sequential": Family("GPTNeoXConfig", {"use_parallel_residual": False}),
    "bloom": FAMILIES["bloom"],
}


@cache
def reference(name):
    """A sharp model whose norms and biases are no ones and zeros, which would hide faults."""
    model = MADE[name].make()
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter, weight in model.named_parameters():
            if "norm" in parameter or ".ln_" in parameter or parameter.endswith("bias"):
                weight += 0.3 * torch.randn(weight.shape, generator=generator)
    sharpen(model)
    assert mean_entropy(model) < 0.7
    return model


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    return saved_once(tmp_path_factory, reference)


def tokens_of(count):
    return np.random.default_rng(count).integers(1, VOCABULARY, count).tolist()


@torch.no_grad()
def wanted(model, tokens):
    return model(torch.tensor([tokens])).logits[0]


def got(model, tokens):
    return torch.from_numpy(rapt.Session(model, len(tokens)).prefill(tokens, all=True))


@pytest.mark.parametrize("name", MADE)
def test_logits_are_those_of_transformers(name, directories):
    model = rapt.Model.load(directories(name))
    for count in (1, 2, 7, 33, 300):
        tokens = tokens_of(count)
        assert relative(got(model, tokens), wanted(reference(name), tokens)) < TOLERANCE, count


@torch.no_grad()
@pytest.mark.parametrize("name", MADE)
def test_token_by_token(name, directories):
    """Both caches; within LongRoPE's original context, as transformers' goes wrong beyond."""
    tokens = tokens_of(30)
    session = rapt.Session(rapt.Model.load(directories(name)), len(tokens))
    whole = got(rapt.Model.load(directories(name)), tokens)
    past = transformers.DynamicCache(config=reference(name).config)
    for n, token in enumerate(tokens):
        step = torch.from_numpy(session.prefill([token]))
        assert torch.equal(step, whole[n])
        answer = reference(name)(torch.tensor([[token]]), past_key_values=past, use_cache=True)
        assert relative(step, answer.logits[0, 0]) < TOLERANCE, n


@pytest.mark.parametrize("name", MADE)
def test_greedy_generation(name, directories):
    prompt, count = tokens_of(20), 12
    drawn = list(rapt.generate(rapt.Model.load(directories(name)), prompt, count))
    rows = wanted(reference(name), prompt + drawn)[len(prompt) - 1 :]
    for token, row in zip(drawn, rows):
        assert row.max() - row[token] < TOLERANCE * row.abs().max()


@pytest.mark.parametrize("name", MADE)
def test_same_bits_for_threads_chunks_and_batches(name, directories):
    model, tokens = rapt.Model.load(directories(name)), tokens_of(30)
    whole = got(model, tokens)
    before = rapt.get_threads()
    try:
        for count in (1, 3):
            rapt.set_threads(count)
            session = rapt.Session(model, len(tokens))
            parts = [session.prefill(tokens[a:b], all=True) for a, b in ((0, 7), (7, 24), (24, 30))]
            assert np.array_equal(np.concatenate(parts), whole.numpy())
    finally:
        rapt.set_threads(before)
    longest = 40  # LongRoPE scales for it
    engine = rapt.Engine(model, page_size=16, max_step_tokens=9, max_sequence_tokens=longest)
    prompts = [tokens, tokens[:3], tokens[5:20]]
    ids = [engine.submit(prompt, max_new_tokens=6, temperature=0.0) for prompt in prompts]
    answers = {request: [] for request in ids}
    while engine.busy:
        for event in engine.step():
            if event.token is not None:
                answers[event.request].append(event.token)
    for request, prompt in zip(ids, prompts):
        session, alone, pending = rapt.Session(model, longest), [], prompt
        for _ in range(6):
            alone.append(int(np.argmax(session.prefill(pending))))
            pending = alone[-1:]
            if model.ends_text(pending[0]):
                break
        assert answers[request] == alone


def test_every_weight_type_and_shards(tmp_path):
    """Fused and transposed matrices are sliced in every type."""
    for name in ("gpt2", "phi3", "gpt_neox", "bloom"):
        for dtype in (torch.bfloat16, torch.float16):
            model = copy.deepcopy(reference(name)).to(dtype)
            directory = tmp_path / f"{name} {dtype}"
            model.save_pretrained(directory, max_shard_size="20KB")
            assert len(list(directory.glob("*.safetensors"))) > 1
            tokens = tokens_of(20)
            logits = got(rapt.Model.load(directory), tokens)
            widened = type(model).from_pretrained(
                directory, dtype=torch.float32, attn_implementation="eager"
            )
            assert relative(logits, wanted(widened.eval(), tokens)) < TOLERANCE


def swap(*parts):
    """A fault of the weights: tensors of two names change places."""

    def change(config, weights):
        first, second = parts
        for name in [name for name in weights if first in name]:
            other = name.replace(first, second)
            weights[name], weights[other] = weights[other], weights[name]

    return change


def drop(part, value):
    """A fault of the weights: tensors of a name are `value` all over."""

    def change(config, weights):
        for name in [name for name in weights if part in name]:
            weights[name] = torch.full_like(weights[name], value)

    return change


def field(**fields):
    """A fault of config.json."""
    return lambda config, weights: config.update(fields)


def rotary(**fields):
    return lambda config, weights: config["rope_parameters"].update(fields)


NORMS = ("input_layernorm", "post_attention_layernorm")
POST = ("post_attention_layernorm", "post_feedforward_layernorm")
FAULTS = [
    ("llama", "base", rotary(rope_theta=20000.0)),
    ("llama", "norms", swap(*NORMS)),
    ("llama 3", "scaling", rotary(factor=4.0)),
    ("mistral", "window", field(sliding_window=WINDOW + 1)),
    ("mistral", "no window", field(sliding_window=None)),
    ("qwen2", "bias", drop("k_proj.bias", 0.0)),
    ("qwen2", "bias of v", drop("v_proj.bias", 0.0)),
    ("qwen2 windows", "layers", field(layer_types=["sliding_attention"] * 2)),
    ("qwen2 windows", "window", field(sliding_window=WINDOW - 1)),
    ("qwen3", "norm", drop("q_norm", 1.0)),
    ("olmo2", "norms", swap(*POST)),
    ("olmo2", "norm", drop("k_norm", 1.0)),
    ("gemma2", "softcap", field(attn_logit_softcapping=None)),
    ("gemma2", "softcap of logits", field(final_logit_softcapping=15.0)),
    ("gemma2", "window", field(sliding_window=WINDOW + 1)),
    ("gemma2", "layers", field(layer_types=["full_attention", "sliding_attention"])),
    ("gemma2", "scale", field(query_pre_attn_scalar=16)),
    ("gemma2", "norms", swap(*POST)),
    ("gemma3", "base", lambda c, w: c["rope_parameters"]["full_attention"].update(rope_theta=1e4)),
    (
        "gemma3",
        "base of windows",
        lambda c, w: c["rope_parameters"]["sliding_attention"].update(rope_theta=100.0),
    ),
    ("gemma3", "norm", drop("q_norm", 0.0)),
    ("phi3 longrope", "factors", rotary(long_factor=[3.0, 6.0])),
    (
        "phi3 longrope",
        "part",
        rotary(partial_rotary_factor=1.0, short_factor=[1.0] * 4, long_factor=[2.0] * 4),
    ),
    ("gpt2", "positions", drop("wpe", 0.0)),
    ("gpt2 by layer", "scale", field(scale_attn_by_inverse_layer_idx=False)),
    ("gpt_neox", "residual", field(use_parallel_residual=False)),
    ("gpt_neox", "part", rotary(partial_rotary_factor=0.5)),
    ("gpt_neox", "norms", swap(*NORMS)),
    ("bloom", "norm of the embedding", drop("word_embeddings_layernorm.weight", 1.0)),
]


@pytest.mark.parametrize(
    ("name", "fault", "plant"), FAULTS, ids=lambda x: x if isinstance(x, str) else ""
)
def test_faults_show(name, fault, plant, directories, tmp_path):
    config = json.loads((directories(name) / "config.json").read_text())
    weights = safetensors.torch.load_file(directories(name) / "model.safetensors")
    plant(config, weights)
    (tmp_path / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors")
    tokens = tokens_of(60)
    moved = relative(got(rapt.Model.load(tmp_path), tokens), wanted(reference(name), tokens))
    assert moved > 100 * TOLERANCE


def older(config):
    """A config.json as transformers 4 wrote it."""
    config = copy.deepcopy(config)
    config["torch_dtype"] = config.pop("dtype")
    rope = config.pop("rope_parameters", None)
    if rope is None:
        return config
    if "full_attention" in rope:
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        config["sliding_window_pattern"] = config.pop("_sliding_window_pattern")
        rope = rope["full_attention"]
    names = ("rope_theta", "partial_rotary_factor")
    if config["model_type"] == "gpt_neox":
        config["rotary_emb_base"], config["rotary_pct"] = (rope.pop(name) for name in names)
    for name in names:
        if name in rope:
            config[name] = rope.pop(name)
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    return config


@pytest.mark.parametrize("name", MADE)
def test_older_files_are_read(name, directories, tmp_path):
    config = json.loads((directories(name) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(older(config)))
    (tmp_path / "model.safetensors").symlink_to(directories(name) / "model.safetensors")
    tokens = tokens_of(60)
    assert torch.equal(
        got(rapt.Model.load(tmp_path), tokens), got(rapt.Model.load(directories(name)), tokens)
    )


@pytest.mark.parametrize("name", MADE)
def test_what_is_not_known_is_refused(name, directories, tmp_path):
    config = json.loads((directories(name) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "attention_multiplier": 2.0}))
    with pytest.raises(rapt.Error, match="attention_multiplier: expected no field") as refused:
        rapt.Model.load(tmp_path)
    assert refused.value.code == "unsupported"
