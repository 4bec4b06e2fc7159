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
