"""Encoder-decoders against transformers' eager f32: logits, caches, generation, and faults planted
into configuration and weights, which must show."""

import json
from functools import cache

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from families import (
    ENCODER_DECODER,
    FAMILIES,
    VOCABULARY,
    Family,
    mean_entropy,
    relative,
    saved_once,
    sharpen,
)

import rapt

TOLERANCE = 1e-4  # of the largest logit
T5 = {
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "initializer_factor": 1.0,
    "decoder_start_token_id": 1,
}
BART = {**ENCODER_DECODER, "encoder_attention_heads": 2, "decoder_layers": 3}
MARIAN = {**BART, "scale_embedding": True, "activation_function": "swish", "pad_token_id": 130}
MADE = {
    "t5": Family("T5Config", T5, "T5ForConditionalGeneration"),
    "t5 1.1": Family(
        "T5Config",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        "T5ForConditionalGeneration",
    ),
    "t5 few buckets": Family(
        "T5Config",
        {**T5, "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20},
        "T5ForConditionalGeneration",
    ),
    "bart": Family("BartConfig", BART, "BartForConditionalGeneration"),
    "bart scaled": Family(
        "BartConfig", {**BART, "scale_embedding": True}, "BartForConditionalGeneration"
    ),
    "marian": Family("MarianConfig", MARIAN, "MarianMTModel"),
}
STACKS = ("encoder", "decoder")
LENGTHS = ((1, 1), (2, 7), (33, 12), (1, 300), (300, 1), (300, 300))


@cache
def reference(name):
    """A sharp model whose norms and biases are no ones and zeros, which would hide faults."""
    model = MADE[name].make()
    generator = torch.Generator().manual_seed(9)

    def noise(shape):
        return 0.3 * torch.randn(shape, generator=generator)

    with torch.no_grad():
        for parameter, weight in model.named_parameters():
            if "norm" in parameter or parameter.endswith("bias"):
                weight += noise(weight.shape)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias += 3 * noise(model.final_logits_bias.shape)
        if name == "t5 1.1":  # a head of its own
            model.lm_head.weight = torch.nn.Parameter(noise(model.lm_head.weight.shape))
    sharpen(model)
    assert mean_entropy(model) < 0.7
    return model


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    return saved_once(tmp_path_factory, reference)


def tokens_of(count, seed=0):
    return np.random.default_rng((count, seed)).integers(1, VOCABULARY - 1, count).tolist()


@torch.no_grad()
def wanted(model, source, tokens):
    return model(torch.tensor([source]), decoder_input_ids=torch.tensor([tokens])).logits[0]


def got(model, source, tokens):
    session = rapt.Session(model, len(tokens))
    session.encode(source)
    return torch.from_numpy(session.prefill(tokens, all=True))


@pytest.mark.parametrize("name", MADE)
def test_logits_are_those_of_transformers(name, directories):
    model = rapt.Model.load(directories(name))
    for source_length, length in LENGTHS:
        texts = tokens_of(source_length, 1), tokens_of(length)
        difference = relative(got(model, *texts), wanted(reference(name), *texts))
        assert difference < TOLERANCE, (source_length, length)


@torch.no_grad()
@pytest.mark.parametrize("name", MADE)
def test_token_by_token(name, directories):
    source, tokens = tokens_of(40, 1), tokens_of(30)
    model = rapt.Model.load(directories(name))
    session = rapt.Session(model, len(tokens))
    session.encode(source)
    whole = got(model, source, tokens)
    encoder_outputs = reference(name).get_encoder()(torch.tensor([source]))
    past = transformers.EncoderDecoderCache(
        transformers.DynamicCache(), transformers.DynamicCache()
    )
    for n, token in enumerate(tokens):
        step = torch.from_numpy(session.prefill([token]))
        assert torch.equal(step, whole[n])
        answer = reference(name)(
            encoder_outputs=encoder_outputs,
            decoder_input_ids=torch.tensor([[token]]),
            past_key_values=past,
            use_cache=True,
        )
        assert relative(step, answer.logits[0, 0]) < TOLERANCE, n


@pytest.mark.parametrize("name", MADE)
def test_loss_of_a_text_given_the_input(name, directories):
    model = rapt.Model.load(directories(name))
    source, text = tokens_of(20), tokens_of(30, seed=1)
    begin = model.config.decoder_start_token_ids
    logits = wanted(reference(name), source, [*begin, *text[:-1]])[len(begin) - 1 :]
    losses = torch.nn.functional.cross_entropy(logits, torch.tensor(text), reduction="none")
    found = rapt.evaluate(model, text, encoder_input=source, context=len(begin) + len(text))
    np.testing.assert_allclose(found.nats, losses.numpy(), rtol=1e-4, atol=1e-4)
    again = rapt.evaluate(model, text, encoder_input=source, beginning=begin[-1:])
    assert np.array_equal(again.nats, found.nats)  # what the tokenizer begins with is there already


@pytest.mark.parametrize("name", MADE)
def test_greedy_generation(name, directories):
    source, prompt, count = tokens_of(20, 1), tokens_of(3), 12
    model = rapt.Model.load(directories(name))
    drawn = list(rapt.generate(model, prompt, count, encoder_input=source))
    assert len(drawn) == count
    start = [reference(name).config.decoder_start_token_id]
    rows = wanted(reference(name), source, start + prompt + drawn)[len(prompt) :]
    if name == "marian":
        rows[:, reference(name).config.pad_token_id] = -1e9
    for token, row in zip(drawn, rows):
        assert row.max() - row[token] < TOLERANCE * wanted_size(row)


def wanted_size(row):
    return row[row > -1e9].abs().max()


@pytest.mark.parametrize("name", MADE)
def test_same_bits_for_threads_and_chunks(name, directories):
    model, source, tokens = rapt.Model.load(directories(name)), tokens_of(70, 1), tokens_of(30)
    whole = got(model, source, tokens)
    before = rapt.get_threads()
    try:
        for count in (1, 3):
            rapt.set_threads(count)
            session = rapt.Session(model, len(tokens))
            session.encode(tokens)
            session.prefill(tokens[:9])  # of another source, to be forgotten
            session.encode(source)
            parts = [session.prefill(tokens[a:b], all=True) for a, b in ((0, 7), (7, 24), (24, 30))]
            assert np.array_equal(np.concatenate(parts), whole.numpy())
    finally:
        rapt.set_threads(before)


def test_every_weight_type(tmp_path):
    for name in ("t5 1.1", "bart", "marian"):
        for dtype in (torch.bfloat16, torch.float16):
            directory = tmp_path / f"{name} {dtype}"
            MADE[name].make().to(dtype).save_pretrained(directory)
            texts = tokens_of(20, 1), tokens_of(20)
            widened = type(reference(name)).from_pretrained(
                directory, dtype=torch.float32, attn_implementation="eager"
            )
            logits = got(rapt.Model.load(directory), *texts)
            assert relative(logits, wanted(widened.eval(), *texts)) < TOLERANCE


def stored_twice(name, weights):
    """What checkpoints of transformers 4 hold besides."""
    if name == "t5":
        copies = {f"{x}.embed_tokens.weight": weights["shared.weight"] for x in STACKS}
        table = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
        return {**copies, table: torch.ones(32, 4)}
    copies = {f"model.{x}.embed_tokens.weight": weights["model.shared.weight"] for x in STACKS}
    if name == "marian":
        positions = reference(name).model.encoder.embed_positions.weight
        copies |= {f"model.{x}.embed_positions.weight": positions for x in STACKS}
    return copies


@pytest.mark.parametrize("name", ["t5", "bart", "marian"])
def test_copies_of_weights_are_read(name, directories, tmp_path):
    weights = safetensors.torch.load_file(directories(name) / "model.safetensors")
    weights |= {k: v.detach().clone() for k, v in stored_twice(name, weights).items()}
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").symlink_to(directories(name) / "config.json")
    texts = tokens_of(20, 1), tokens_of(20)
    once = got(rapt.Model.load(directories(name)), *texts)
    assert relative(got(rapt.Model.load(tmp_path), *texts), once) < 1e-6


def drop(part, value):
    """A fault of the weights: tensors of a name are `value` all over."""

    def change(config, weights):
        names = [name for name in weights if part in name]
        assert names
        for name in names:
            weights[name] = torch.full_like(weights[name], value)

    return change


def swap(first, second):
    """A fault of the weights: tensors of two names change places."""

    def change(config, weights):
        names = [name for name in weights if first in name]
        assert names
        for name in names:
            other = name.replace(first, second)
            weights[name], weights[other] = weights[other], weights[name]

    return change


def roll(part, rows):
    """A fault of the weights: the rows of a table are some further down."""

    def change(config, weights):
        names = [name for name in weights if part in name]
        assert names
        for name in names:
            weights[name] = weights[name].roll(rows, 0).contiguous()

    return change


def field(**fields):
    """A fault of config.json."""
    return lambda config, weights: config.update(fields)


BIAS = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
FAULTS = [
    ("t5", "distance", field(relative_attention_max_distance=64)),
    ("t5", "bias of the decoder", drop("decoder." + BIAS, 0.0)),
    ("t5", "directions of the encoder", roll("encoder." + BIAS, 16)),
    ("t5", "scale of the head", field(scale_decoder_outputs=False)),
    ("t5", "norms", swap("layer.0.layer_norm", "layer.1.layer_norm")),
    ("t5", "memory", drop("EncDecAttention.v", 0.0)),
    ("t5", "norm of the memory", drop("encoder.final_layer_norm", 1.0)),
    ("t5 1.1", "gate", swap("wi_0", "wi_1")),
    ("t5 1.1", "activation", field(feed_forward_proj="gated-relu", dense_act_fn="relu")),
    ("t5 1.1", "scale of the head", field(scale_decoder_outputs=True)),
    ("bart", "first position", roll("embed_positions", 1)),
    ("bart", "norm of the embedding", drop("layernorm_embedding.weight", 1.0)),
    ("bart", "norms", swap("self_attn_layer_norm", "final_layer_norm")),
    ("bart", "norm of attention to the memory", drop("encoder_attn_layer_norm.weight", 1.0)),
    ("bart", "bias of attention to the memory", drop("encoder_attn.v_proj.bias", 0.0)),
    ("bart", "bias of the logits", drop("final_logits_bias", 0.0)),
    ("bart scaled", "scale", field(scale_embedding=False)),
    ("marian", "scale", field(scale_embedding=False)),
    ("marian", "activation", field(activation_function="relu")),
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
    texts = tokens_of(90, 1), tokens_of(90)
    moved = relative(got(rapt.Model.load(tmp_path), *texts), wanted(reference(name), *texts))
    assert moved > 100 * TOLERANCE


@pytest.mark.parametrize("name", MADE)
def test_what_is_not_known_is_refused(name, directories, tmp_path):
    config = json.loads((directories(name) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "attention_multiplier": 2.0}))
    with pytest.raises(rapt.Error, match="attention_multiplier: expected no field") as refused:
        rapt.Model.load(tmp_path)
    assert refused.value.code == "unsupported"


def test_what_needs_the_other_kind_of_model_is_refused(directories, tmp_path):
    model = rapt.Model.load(directories("t5"))
    assert model.config.is_encoder_decoder
    session = rapt.Session(model)
    with pytest.raises(rapt.Error, match=r"Session\.encode: expected the encoder's input before"):
        session.prefill([1])
    with pytest.raises(rapt.Error, match="expected the encoder's input before"):
        next(rapt.generate(model, [], 1))
    with pytest.raises(rapt.Error, match=r"Session\.tokens: expected at least one token"):
        session.encode([])
    with pytest.raises(rapt.Error, match=r"Session\.tokens\[1\]: expected 0 to 130, got 131"):
        session.encode([1, VOCABULARY])
    for run in (
        lambda: rapt.Engine(model),
        lambda: rapt.audit_model(model, [1, 2, 3]),
    ):
        with pytest.raises(rapt.Error, match="expected a decoder-only model") as refused:
            run()
        assert refused.value.code == "unsupported"
    with pytest.raises(rapt.Error, match=r"evaluate\.encoder_input: expected the tokens that the"):
        rapt.evaluate(model, [1, 2, 3])
    with pytest.raises(rapt.Error, match=r"ModelOptions\.cache: expected f32, bf16 or f16"):
        rapt.Model.load(directories("t5"), cache="int8")
    FAMILIES["llama"].make().save_pretrained(tmp_path)
    decoder = rapt.Model.load(tmp_path)
    assert not decoder.config.is_encoder_decoder
    with pytest.raises(rapt.Error, match=r"Session\.encode: expected a model with an encoder"):
        next(rapt.generate(decoder, [1], 1, encoder_input=[1]))
    with pytest.raises(rapt.Error, match=r"evaluate\.encoder_input: expected none"):
        rapt.evaluate(decoder, [1, 2, 3], encoder_input=[1])


def test_a_source_longer_than_the_encoders_positions_is_refused(directories):
    session = rapt.Session(rapt.Model.load(directories("bart")))
    with pytest.raises(rapt.Error, match="expected at most 1024, the encoder's positions, got"):
        session.encode([1] * 1025)
    session.encode([1] * 1024)
    before = session.prefill([1, 2])
    with pytest.raises(rapt.Error):
        session.encode([])
    session.truncate(0)
    assert np.array_equal(session.prefill([1, 2]), before)
