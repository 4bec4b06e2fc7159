"""The audit of models: it passes what is right, and finds what is planted."""

import pytest
import torch
import transformers
from families import FAMILIES, VOCABULARY, family_model

import rapt
import rapt.transformers

LENGTH = 12


@pytest.fixture(scope="module", autouse=True)
def registered():
    transformers.logging.set_verbosity_error()
    rapt.transformers.register()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def inputs(model, padding=(0, 4)):
    torch.manual_seed(3)
    tokens = torch.randint(1, VOCABULARY, (len(padding), LENGTH))
    there = torch.arange(LENGTH) >= torch.tensor(padding)[:, None]
    made = {"input_ids": tokens, "attention_mask": there.long()}
    if model.config.is_encoder_decoder:
        made["decoder_input_ids"] = torch.randint(1, VOCABULARY, (len(padding), 7))
    return made


def audit(name, implementation="rapt", padding=(0, 4), **options):
    model = family_model(name)
    model.set_attn_implementation(implementation)
    return rapt.transformers.audit(model, queries=LENGTH, **inputs(model, padding), **options)


@pytest.mark.parametrize("name", FAMILIES)
def test_models_pass(name):
    report = audit(name)
    assert report.passed, report
    layers = 6 if family_model(name).config.is_encoder_decoder else 2
    assert len(report.layers) == layers
    assert all(layer.report.queries for layer in report.layers)


def checks(report):
    found = [f for layer in report.layers for f in layer.report.findings]
    return {f.check for f in found} | {f.check for f in report.logits}


def test_eager_attention_lets_hidden_nan_and_padding_through():
    assert "empty row" in checks(audit("llama", "eager"))
    found = checks(audit("llama", "eager", padding=(0, 0)))
    assert found == {"poison infinity", "poison nan"}
    assert "poison nan" in checks(audit("llama", "sdpa"))


def plant(mask=None, attention=None):
    transformers.AttentionMaskInterface.register("planted", mask or rapt.transformers.mask)
    transformers.AttentionInterface.register(
        "planted", attention or rapt.transformers.attention_forward
    )


def test_padding_that_is_not_hidden_is_found():
    plant(lambda **kwargs: rapt.transformers.mask(**{**kwargs, "attention_mask": None}))
    found = checks(audit("llama", "planted"))
    assert {"hidden mass", "poison nan", "padding"} <= found and "suffix" not in found


def test_a_next_key_that_is_not_hidden_is_found():
    plant(lambda **kwargs: rapt.transformers.mask(**{**kwargs, "q_offset": 1}))
    report = audit("gpt2", "planted", padding=(0, 0))
    assert {"hidden mass", "suffix"} <= checks(report)
    first = report.layers[0].report.first()
    assert first.key == first.query + 1
    assert report.logits[0].check == "suffix"
    assert report.logits[0].query == report.logits[0].key - 1


def test_a_window_too_short_is_found():
    from transformers.masking_utils import sliding_window_causal_mask_function as window

    plant(lambda **kwargs: rapt.transformers.mask(**{**kwargs, "mask_function": window(5)}))
    assert "missing key" in checks(audit("mistral", "planted", padding=(0, 0)))


@pytest.mark.parametrize("reader", [0, 1])
def test_sequences_that_mix_are_found(reader):
    def mixing(module, query, key, value, mask, **kwargs):
        leaked = value.clone()
        leaked[reader] += 1e-3 * value[1 - reader]
        return rapt.transformers.attention_forward(module, query, key, leaked, mask, **kwargs)

    plant(attention=mixing)
    assert "batch" in checks(audit("llama", "planted", padding=(0, 0)))


def test_a_rule_of_your_own():
    report = audit("mistral", visible=lambda module, i, j: torch.ones(1, 1, i, j).tril().bool())
    assert "missing key" in checks(report)


def test_models_with_attention_of_their_own_are_refused():
    config = transformers.MptConfig(d_model=32, n_heads=4, n_layers=1, vocab_size=VOCABULARY)
    model = transformers.MptForCausalLM._from_config(config, attn_implementation="eager").eval()
    with pytest.raises(rapt.Error, match=r"audit\.model"):
        rapt.transformers.audit(model, input_ids=torch.ones(1, 5, dtype=torch.int64))


def test_functions_of_torch():
    """rapt.audit itself, of torch's function and of one that leaks."""
    q, k, v = (torch.randn(1, 9, 2, 8) for _ in range(3))
    visible = torch.ones(1, 1, 9, 9).tril().bool()

    def sdpa(q, k, v, causal=True):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        o = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return o.transpose(1, 2)

    with torch.no_grad(), rapt.torch.sdpa_via_rapt():
        assert rapt.audit(sdpa, visible, q, k, v).passed
        report = rapt.audit(lambda *x: sdpa(*x, causal=False), visible, q, k, v)
    assert report.first().key == 1 and report.first().query == 0


# Models that see both sides, windows on both sides, and chunks.


def sided(config, model, **options):
    """A small model that no family of generation covers."""
    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "pad_token_id": 0,
        "initializer_range": 0.5,
    }
    made = getattr(transformers, config)(**{**common, **options})
    torch.manual_seed(4)
    return getattr(transformers, model)._from_config(made, attn_implementation="rapt").eval()


WINDOWS = {
    "layer_types": ["sliding_attention", "full_attention"],
    "local_attention": 6,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
CHUNKS = {
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size_mlp": 48,
    "attention_chunk_size": 5,
    "layer_types": ["chunked_attention", "full_attention"],
    "moe_layers": [],
    "bos_token_id": 1,
    "eos_token_id": None,
}
SIDED = {
    "encoder": ("BertConfig", "BertForMaskedLM", {}),
    "encoder without a head": ("BertConfig", "BertModel", {}),
    "window on both sides": ("ModernBertConfig", "ModernBertForMaskedLM", WINDOWS),
    "chunks": ("Llama4TextConfig", "Llama4ForCausalLM", CHUNKS),
}


@pytest.mark.parametrize("padding", [(0, 0), (0, 4)])
@pytest.mark.parametrize("name", SIDED)
def test_both_sides_and_chunks_pass(name, padding):
    config, model, options = SIDED[name]
    made = sided(config, model, **options)
    report = rapt.transformers.audit(made, queries=LENGTH, **inputs(made, padding))
    assert report.passed, report
    assert len(report.layers) == 2


def other_window(function):
    """Windows on both sides one token longer, chunks one token shorter."""
    from transformers import masking_utils

    parts = getattr(function, "__closure__", None) and function.__closure__[0].cell_contents
    if not isinstance(parts, tuple):
        return function
    if "bidirectional" in parts[0].__qualname__:
        return masking_utils.sliding_window_bidirectional_mask_function(4)
    if "chunked" in parts[0].__qualname__:
        begins = dict(zip(parts[0].__code__.co_freevars, parts[0].__closure__))["left_padding"]
        return masking_utils.chunked_causal_mask_function(4, begins.cell_contents)
    return function


@pytest.mark.parametrize("name", ["window on both sides", "chunks"])
def test_another_window_is_found(name):
    config, model, options = SIDED[name]
    made = sided(config, model, **options)
    plant(
        lambda mask_function, **kwargs: rapt.transformers.mask(
            mask_function=other_window(mask_function), **kwargs
        )
    )
    made.set_attn_implementation("planted")
    found = checks(rapt.transformers.audit(made, queries=LENGTH, **inputs(made, (0, 0))))
    assert found & {"hidden mass", "missing key"}


def test_padding_that_an_encoder_sees_is_found():
    made = sided("BertConfig", "BertForMaskedLM")
    plant(lambda **kwargs: rapt.transformers.mask(**{**kwargs, "attention_mask": None}))
    made.set_attn_implementation("planted")
    assert {"hidden mass", "padding"} <= checks(rapt.transformers.audit(made, **inputs(made)))


def test_a_prefix_of_your_own_rule_is_no_leak():
    """Cuts are where the rule shows nothing across: a prefix that sees itself is none of them."""
    function = rapt.transformers.attention_forward

    def prefixed(module, query, key, value, mask, **kwargs):
        causal = torch.ones(query.shape[2], key.shape[2]).tril().bool()
        causal[:8, :8] = True
        return function(module, query, key, value, causal[None, None], **kwargs)

    def rule(module, queries, keys):
        bits = torch.ones(1, 1, queries, keys).tril().bool()
        bits[..., :8, :8] = True
        return bits

    plant(attention=prefixed)
    report = audit("llama", "planted", padding=(0, 0), visible=rule)
    assert report.passed, report
    assert "suffix" in checks(audit("llama", "planted", padding=(0, 0)))


def test_logits_of_a_whole_text_are_refused():
    made = sided("BertConfig", "BertForSequenceClassification")
    with pytest.raises(rapt.Error, match="logits or hidden states of tokens"):
        rapt.transformers.audit(made, queries=1, **inputs(made))
