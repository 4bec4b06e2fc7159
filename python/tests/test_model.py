import json
import pathlib

import numpy as np
import pytest

import rapt

MODEL = pathlib.Path(__file__).parents[2] / "models" / "default"


TEXT = "Once upon a time there was"


def test_text_goes_to_tokens_and_back(tokenizer):
    tokens = tokenizer.encode(TEXT)
    assert tokens[: len(tokenizer.beginning)] == tokenizer.beginning
    assert tokenizer.decode(tokens) == TEXT and max(tokens) < tokenizer.vocab_size
    assert tokenizer.decode(np.array(tokens)) == TEXT
    assert tokenizer.decode([*tokens, tokenizer.vocab_size]) == TEXT  # of a padded vocabulary
    with pytest.raises(rapt.Error, match="expected"):
        tokenizer.decode([-1])


def test_logits_do_not_depend_on_the_cut(model, tokenizer):
    tokens = tokenizer.encode(TEXT)
    whole = rapt.Session(model).prefill(tokens, all=True)
    assert whole.shape == (len(tokens), model.vocab_size) and whole.dtype == np.float32
    session = rapt.Session(model, capacity=len(tokens))
    first = session.prefill(tokens[:3])
    kept = first.copy()
    for n, token in enumerate(tokens[3:], 3):
        assert np.array_equal(session.prefill([token]), whole[n])
    assert np.array_equal(first, kept) and np.array_equal(first, whole[2])
    assert session.length == session.capacity == len(tokens) and session.cache_bytes > 0
    with pytest.raises(rapt.Error, match="expected"):
        session.prefill([0])
    session.truncate(2)
    assert np.array_equal(session.prefill([tokens[2]]), first)


def test_generates(model, tokenizer):
    tokens = tokenizer.encode(TEXT)
    greedy = list(rapt.generate(model, tokens, 12))
    assert len(greedy) == 12
    session = rapt.Session(model)
    logits = session.prefill(tokens)
    for token in greedy:
        assert token == int(np.argmax(logits))
        logits = session.prefill([token])
    drawn = [
        list(rapt.generate(model, tokens, 12, sampler=rapt.Sampler(temperature=1.5, seed=seed)))
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    with pytest.raises(rapt.Error, match="top_p"):
        rapt.Sampler(top_p=2.0)


def test_evaluates(model, tokenizer):
    tokens = tokenizer.encode(TEXT)
    begin = len(tokenizer.beginning)
    loss = rapt.evaluate(model, tokens[begin:], beginning=tokenizer.beginning)
    logits = rapt.Session(model).prefill(tokens, all=True).astype(np.float64)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    scored = range(max(begin, 1), len(tokens))
    np.testing.assert_allclose(loss.nats, [-np.log(p[t - 1, tokens[t]]) for t in scored])
    assert loss.total_nats == pytest.approx(sum(loss.nats)) and loss.context <= model.context


def test_types_and_refusals():
    small = rapt.Model.load(MODEL, weights="int8", cache="bfloat16")
    assert rapt.Session(small, 8).cache_bytes < rapt.Session(rapt.Model.load(MODEL), 8).cache_bytes
    with pytest.raises(rapt.Error, match="int4") as refused:
        rapt.Model.load(MODEL, weights="int4")
    assert refused.value.code == "bad_argument"
    with pytest.raises(rapt.Error) as missing:
        rapt.Model.load("no such place")
    assert missing.value.code == "io"


def test_messages_may_quote_bytes_that_are_no_utf8(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(b'{"\xff": 1}')
    with pytest.raises(rapt.Error) as refused:
        rapt.Tokenizer.load(tmp_path)
    assert refused.value.code == "bad_file"


def test_info_is_what_the_files_say(model):
    info = rapt.ModelInfo.read(MODEL)
    config = json.loads((MODEL / "config.json").read_text())
    for name in ("vocab_size", "hidden_size", "num_hidden_layers", "rms_norm_eps", "rope_theta"):
        assert getattr(info.config, name) == getattr(model.config, name) == config[name]
    assert info.config.context == model.context
    assert sum(info.parts.values()) == info.parameters == sum(info.dtypes.values())
    assert next(iter(info.parts)) == "embedding" and info.weights_bytes == 2 * info.parameters
    assert info.cache_bytes == info.cache_bytes_per_token * model.context
    assert rapt.Session(model, 8).cache_bytes >= 8 * info.cache_bytes_per_token
    small = rapt.ModelInfo.read(MODEL, weights="int8", cache="bfloat16")
    assert small.loaded_bytes < info.loaded_bytes
    assert 2 * small.cache_bytes == info.cache_bytes
    with pytest.raises(rapt.Error, match=r"ModelInfo\.read\.cache"):
        rapt.ModelInfo.read(MODEL, cache="int4")
