"""Interventions on heads, by the model's own weights where they say what must come out."""

import numpy as np
import pytest

import rapt

TEXT = "Once upon a time there was a dog. The dog was big, and the dog was brown."
HEAD = (1, 5)


@pytest.fixture(scope="module")
def tokens(tokenizer):
    return tokenizer.encode(TEXT)


def logits(model, tokens, interventions=None, cut=None):
    session = rapt.Session(model)
    if interventions is not None:
        session.intervene(interventions)
    parts = [tokens] if cut is None else [tokens[:cut], tokens[cut:]]
    return np.concatenate([session.prefill(part, all=True) for part in parts])


def changed(head, gate=None, values=None):
    interventions = rapt.HeadInterventions()
    if values is None:
        interventions.gate(head, gate)
    else:
        interventions.replace(head, values)
    return interventions


def test_a_gate_of_one_and_own_outputs_leave_the_bits(model, tokens):
    plain = logits(model, tokens)
    assert np.array_equal(logits(model, tokens, changed(HEAD, 1)), plain)
    assert not np.array_equal(logits(model, tokens, changed(HEAD, 0)), plain)
    outputs = rapt.head_outputs(model, tokens)
    config = model.config
    assert outputs.shape == (
        config.num_hidden_layers,
        len(tokens),
        config.num_attention_heads,
        config.head_dim,
    )
    own = outputs[HEAD[0], :, HEAD[1]]
    assert np.array_equal(logits(model, tokens, changed(HEAD, values=own), cut=7), plain)


def test_zero_is_a_gate_of_zero_and_means_are_means(model, tokens):
    zeros = np.zeros(model.config.head_dim, np.float32)
    assert np.array_equal(
        logits(model, tokens, changed(HEAD, values=zeros)), logits(model, tokens, changed(HEAD, 0))
    )
    texts = [tokens, tokens[:9]]
    outputs = np.concatenate([rapt.head_outputs(model, text) for text in texts], axis=1)
    means = rapt.head_output_means(model, texts)
    np.testing.assert_allclose(means, outputs.astype(np.float64).mean(axis=1), atol=1e-6)


def test_evaluate_takes_interventions(model, tokenizer, tokens):
    begin = len(tokenizer.beginning)
    plain, ablated = (
        rapt.evaluate(
            model, tokens[begin:], beginning=tokenizer.beginning, interventions=interventions
        ).nats
        for interventions in (rapt.HeadInterventions(), changed(HEAD, 0))
    )
    shifted = logits(model, tokens, changed(HEAD, 0)).astype(np.float64)
    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    want = [-np.log(p[t - 1, tokens[t]]) for t in range(begin, len(tokens))]
    np.testing.assert_allclose(ablated, want, rtol=1e-9)
    assert not np.array_equal(plain, ablated)


def test_groups_and_refusals(model, tokens):
    assert rapt.heads_of_group(model.config, 2, 1) == [(2, 4), (2, 5), (2, 6), (2, 7)]
    session = rapt.Session(model)
    with pytest.raises(rapt.Error, match="layer 4, head 0"):
        session.intervene(changed((4, 0), 0))
    with pytest.raises(rapt.Error, match="24 features"):
        session.intervene(changed(HEAD, values=np.zeros(5, np.float32)))
    three = changed(HEAD, values=np.zeros((3, 24), np.float32))
    assert three.positions == 3 and not three.empty and rapt.HeadInterventions().empty
    session.intervene(three)
    with pytest.raises(rapt.Error, match="at most 3, the positions"):
        session.prefill(tokens)
