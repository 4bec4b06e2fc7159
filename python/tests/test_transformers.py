"""Whole models of transformers under "rapt" against "eager"."""

import copy

import pytest
import torch
import transformers
from families import FAMILIES, VOCABULARY, family_model, mean_entropy, relative
from transformers.integrations.sdpa_attention import sdpa_attention_forward

import rapt
import rapt.transformers

TOLERANCE = 1e-4
LENGTH = 20
PADDING = {"none": (0, 0, 0), "left": (0, 3, 9), "right": (0, -3, -9), "little": (0, -2, -4)}
STEPS = 8


@pytest.fixture(scope="module", autouse=True)
def registered():
    transformers.logging.set_verbosity_error()
    rapt.transformers.register()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # models this small only wait for a second one
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return family_model(request.param)


@pytest.fixture(autouse=True)
def inference():
    torch.manual_seed(8)
    with torch.no_grad():
        yield


def prompts(padding):
    """Tokens and attention mask of three sequences."""
    tokens = torch.randint(1, VOCABULARY, (3, LENGTH))
    there = torch.ones_like(tokens)
    for row, pad in zip(there, PADDING[padding]):
        row[slice(0, pad) if pad >= 0 else slice(pad, None)] = 0
    return tokens * there, there


def inputs(model, padding):
    """Arguments of forward, and the rows of logits that are no padding."""
    tokens, there = prompts(padding)
    arguments = {"input_ids": tokens, "attention_mask": there}
    if not model.config.is_encoder_decoder:
        positions = (there.cumsum(-1) - 1).clamp(min=0)
        if "position_ids" in model.forward.__code__.co_varnames and padding == "left":
            arguments["position_ids"] = positions
        return arguments, there.bool()
    decoder = torch.randint(1, VOCABULARY, (3, 11))
    return {**arguments, "decoder_input_ids": decoder}, torch.ones_like(decoder).bool()


def logits(model, implementation, arguments):
    model.set_attn_implementation(implementation)
    return model(**arguments).logits


def difference(model, arguments, real, implementation="rapt"):
    want = logits(model, "eager", arguments)[real]
    return relative(logits(model, implementation, arguments)[real], want)


def test_attention_is_sharp(model):
    model.set_attn_implementation("eager")
    assert mean_entropy(model) < 0.7


@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_logits(model, padding):
    arguments, real = inputs(model, padding)
    assert difference(model, arguments, real) < TOLERANCE


@pytest.mark.parametrize(
    "cache, padding", [("dynamic", "none"), ("dynamic", "left"), ("static", "left")]
)
def test_greedy_generation(model, cache, padding):
    tokens, there = prompts(padding)
    want, scores = generate(model, "eager", tokens, there, cache)
    got, _ = generate(model, "rapt", tokens, there, cache)
    same_until_a_tie(got, want, scores)


def generate(model, implementation, tokens, there, cache="dynamic"):
    """Tokens, and the logits of each step."""
    model.set_attn_implementation(implementation)
    output = model.generate(
        tokens,
        attention_mask=there,
        max_new_tokens=STEPS,
        min_new_tokens=STEPS,
        do_sample=False,
        cache_implementation=cache,
        disable_compile=True,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return output.sequences[:, -STEPS:], torch.stack(output.logits, 1)


def same_until_a_tie(got, want, scores):
    """Tokens agree up to a step at which eager attention nearly tied."""
    for row, (mine, reference) in enumerate(zip(got, want)):
        differs = (mine != reference).nonzero()
        if len(differs):
            best = scores[row, differs[0, 0]].topk(2).values
            assert best[0] - best[1] < 1e-4 * best[0].abs(), (row, differs[0, 0])


def test_generation_with_padding_on_the_right(model):
    """Cached padding between prompt and answer: holes. The first query is padding; where a window
    showed it padding alone, eager attention would answer by a mean, and rapt by 0."""
    tokens, there = prompts("little")
    want, scores = generate(model, "eager", tokens, there)
    got, _ = generate(model, "rapt", tokens, there)
    same_until_a_tie(got, want, scores)


def test_a_prompt_in_two_parts():
    """Queries that begin in the middle of the keys, beyond a window of a cache that slides."""
    for name in ("llama", "mistral", "gemma3", "gpt_oss"):
        model = family_model(name)
        tokens = torch.randint(1, VOCABULARY, (2, LENGTH))
        want = logits(model, "eager", {"input_ids": tokens})
        model.set_attn_implementation("rapt")
        cache = transformers.DynamicCache(config=model.config)
        first = model(tokens[:, :9], past_key_values=cache, use_cache=True).logits
        second = model(tokens[:, 9:], past_key_values=cache, use_cache=True).logits
        assert relative(torch.cat([first, second], 1), want) < TOLERANCE


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2"])
def test_packed_documents(name):
    model = family_model(name)
    tokens = torch.randint(1, VOCABULARY, (1, LENGTH))
    positions = torch.cat([torch.arange(7), torch.arange(LENGTH - 7)])[None]
    arguments = {"input_ids": tokens, "position_ids": positions, "use_cache": False}
    got = logits(model, "rapt", arguments)
    assert relative(got, logits(model, "eager", arguments)) < TOLERANCE
    alone = logits(model, "rapt", {"input_ids": tokens[:, 7:], "use_cache": False})
    assert relative(got[:, 7:], alone) < TOLERANCE


def test_a_mask_of_four_dimensions_is_taken_as_it_is():
    model = family_model("llama")
    visible = (torch.rand(3, 1, LENGTH, LENGTH) < 0.5) | torch.eye(LENGTH, dtype=torch.bool)
    floats = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
    tokens, _ = prompts("none")
    want = logits(model, "eager", {"input_ids": tokens, "attention_mask": floats})
    for given in (visible, floats):
        got = logits(model, "rapt", {"input_ids": tokens, "attention_mask": given})
        assert relative(got, want) < TOLERANCE


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["llama", "gpt_oss", "t5"])
def test_other_types(name, dtype):
    """As near to eager f32 as eager attention of that type."""
    model = copy.deepcopy(family_model(name)).to(dtype)
    arguments, real = inputs(model, "left")
    got, eager = (logits(model, x, arguments)[real].float() for x in ("rapt", "eager"))
    want = logits(model.float(), "eager", arguments)[real]
    assert relative(got, want) < 1.5 * relative(eager, want)


# Faults, each of which must show a hundredfold in the logits of a family that has what it breaks.


def mask_with(**changes):
    def planted(**kwargs):
        return rapt.transformers.mask(**{**kwargs, **{k: f(kwargs[k]) for k, f in changes.items()}})

    return planted


def without(*names):
    def planted(module, *args, **kwargs):
        kept = {k: v for k, v in kwargs.items() if k not in names}
        return rapt.transformers.attention_forward(module, *args, **kept)

    return planted


def window_off_by_one(function):
    """The same function for a window one token longer, and others as they are."""
    from transformers.masking_utils import sliding_window_causal_mask_function

    if "and_mask" not in function.__qualname__:
        return function
    return sliding_window_causal_mask_function(7)


FAULTS = {
    "window off by one": ("window", mask_with(mask_function=window_off_by_one), None),
    "no softcap": ("softcap", None, without("softcap")),
    "no sinks": ("sinks", None, without("s_aux")),
    "no position bias": ("position bias", None, without("position_bias")),
    "own key hidden": ("", mask_with(q_offset=lambda offset: offset - 1), None),
    "next key visible": ("", mask_with(q_offset=lambda offset: offset + 1), None),
    "padding visible": ("", mask_with(attention_mask=lambda padding: None), None),
    "no scale": ("", None, without("scaling")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_show(fault):
    trait, planted_mask, planted_attention = FAULTS[fault]
    transformers.AttentionMaskInterface.register("planted", planted_mask or rapt.transformers.mask)
    transformers.AttentionInterface.register(
        "planted", planted_attention or rapt.transformers.attention_forward
    )
    served = [f for f in FAMILIES if not trait or trait in FAMILIES[f].traits]
    if fault == "no scale":
        served = ["t5"]
    assert served
    for name in served:
        model = family_model(name)
        arguments, real = inputs(model, "left")
        assert difference(model, arguments, real) < TOLERANCE
        assert difference(model, arguments, real, "planted") > 100 * TOLERANCE, name


def test_no_alibi_shows():
    model = family_model("bloom")
    arguments, real = inputs(model, "left")
    try:
        transformers.AttentionInterface.register("rapt", without("position_bias"))
        assert difference(model, arguments, real) > 100 * TOLERANCE
    finally:
        rapt.transformers.register()
    assert difference(model, arguments, real) < TOLERANCE


def test_top_left_alignment_shows():
    model = family_model("llama")
    transformers.AttentionInterface.register("planted", rapt.transformers.attention_forward)
    transformers.AttentionMaskInterface.register("planted", mask_with(q_offset=lambda offset: 0))
    tokens = torch.randint(1, VOCABULARY, (2, LENGTH))
    results = {}
    for implementation in ("eager", "planted"):
        model.set_attn_implementation(implementation)
        cache = transformers.DynamicCache(config=model.config)
        model(tokens[:, :9], past_key_values=cache, use_cache=True)
        results[implementation] = model(tokens[:, 9:], past_key_values=cache, use_cache=True).logits
    assert relative(results["planted"], results["eager"]) > 100 * TOLERANCE


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("queries", [1, 5, 9])
@pytest.mark.parametrize("given", ["nothing", "bool", "float"])
def test_attention_function_agrees_with_the_one_of_sdpa(given, queries, declared):
    """Where no mask function was asked: is_causal holds, and masks are tensors."""
    q, k, v = torch.randn(2, 4, queries, 8), torch.randn(2, 2, 9, 8), torch.randn(2, 2, 9, 8)
    visible = (torch.rand(2, 1, queries, 9) < 0.5) | (torch.arange(9) == 0)
    mask = {"nothing": None, "bool": visible, "float": torch.randn(2, 1, queries, 9)}[given]
    module = torch.nn.Module()
    module.is_causal, module.num_key_value_groups = declared, 2
    bias = torch.randn(1, 4, queries, 9)
    for options in ({}, {"is_causal": not declared}, {"position_bias": bias}):
        got = rapt.transformers.attention_forward(module, q, k, v, mask, **options)[0]
        want = sdpa_attention_forward(module, q, k, v, mask, **options)[0]
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


# Bits


def attend(q, k, v, padding=None, q_offset=0):
    made = rapt.transformers.mask(
        batch_size=q.shape[0],
        q_length=q.shape[2],
        kv_length=k.shape[2],
        q_offset=q_offset,
        attention_mask=padding,
    )
    return rapt.transformers.attention_forward(torch.nn.Module(), q, k, v, made)[0]


def test_bits_do_not_depend_on_the_batch():
    q, k, v = torch.randn(3, 4, 40, 16), torch.randn(3, 2, 40, 16), torch.randn(3, 2, 40, 16)
    padding = torch.arange(40) >= torch.tensor([0, 5, 23])[:, None]
    together = attend(q, k, v, padding)
    for b, pad in enumerate((0, 5, 23)):
        alone = attend(*(x[b : b + 1, :, pad:] for x in (q, k, v)))
        assert torch.equal(together[b, pad:], alone[0])
    right = torch.arange(40) < torch.tensor([40, 35, 17])[:, None]
    together = attend(q, k, v, right)
    for b, length in enumerate((40, 35, 17)):
        alone = attend(*(x[b : b + 1, :, :length] for x in (q, k, v)))
        assert torch.equal(together[b, :length], alone[0])


def test_bits_do_not_depend_on_how_a_prompt_is_cut():
    q, k, v = torch.randn(2, 4, 40, 16), torch.randn(2, 2, 40, 16), torch.randn(2, 2, 40, 16)
    whole = attend(q, k, v)
    for cut in (1, 17, 39):
        part = attend(q[:, :, cut:], k, v, q_offset=cut)
        assert torch.equal(part, whole[:, cut:])
    for i in (0, 16, 39):
        one = attend(q[:, :, i : i + 1], k[:, :, : i + 1], v[:, :, : i + 1], q_offset=i)
        static = attend(q[:, :, i : i + 1], k, v, q_offset=i)
        assert torch.equal(one, whole[:, i : i + 1]) and torch.equal(static, one)


# Refusals


def test_what_is_not_served_is_an_error_that_says_so():
    model = family_model("llama")
    model.set_attn_implementation("rapt")
    tokens, _ = prompts("none")
    with torch.enable_grad(), pytest.raises(rapt.Error, match="gradients"):
        model(tokens)
    q = torch.randn(1, 2, 3, 8)
    forward = rapt.transformers.attention_forward
    refused = {
        "dropout": {"dropout": 0.1},
        "attention weights": {"output_attentions": True},
        "head_mask": {"head_mask": torch.ones(2)},
        "indices": {"indices": torch.ones(2)},
        "continuous batching": {"cu_seq_lens_q": torch.tensor([0, 3])},
    }
    for word, arguments in refused.items():
        with pytest.raises(rapt.Error, match=word):
            forward(torch.nn.Module(), q, q, q, None, **arguments)
    with pytest.raises(rapt.Error, match="attention_mask: expected bool or floats"):
        forward(torch.nn.Module(), q, q, q, torch.ones(1, 1, 3, 3, dtype=torch.int64))


def test_a_mask_of_another_length_is_an_error():
    """Models that make a mask once and use it for keys of another number would hide wrong ones."""
    made = rapt.transformers.mask(batch_size=1, q_length=3, kv_length=4)
    q = torch.randn(1, 2, 3, 8)
    with pytest.raises(rapt.Error, match=r"attention_mask: expected one of \(3, 3\) tokens"):
        rapt.transformers.attention_forward(torch.nn.Module(), q, q, q, made)


def test_models_with_attention_of_their_own_are_refused():
    config = transformers.MptConfig(d_model=32, n_heads=4, n_layers=1, vocab_size=VOCABULARY)
    model = transformers.MptForCausalLM._from_config(config, attn_implementation="rapt").eval()
    with pytest.raises(rapt.Error, match="does its attention itself"):
        model(torch.ones(1, 5, dtype=torch.int64))


def test_compiled_model_is_one_graph():
    for name in ("llama", "gemma2", "gpt_oss"):
        model = family_model(name)
        arguments, real = inputs(model, "left")
        arguments["use_cache"] = False
        want = logits(model, "eager", arguments)
        model.set_attn_implementation("rapt")
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        assert relative(compiled(**arguments).logits[real], want[real]) < TOLERANCE
