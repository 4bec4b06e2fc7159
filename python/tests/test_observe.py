"""Statistics of attention: of arrays, of rapt's models, of transformers' models."""

import numpy as np
import pytest
import torch
from families import VOCABULARY, family_model
from oracle import random

import rapt
import rapt.transformers

OTHERS = ["normalised_entropy", "support", "learned_sink", "locality", "duplicate_token"]
OTHERS += ["induction", "token_class", "link"]
METRICS = ["entropy", "sink_mass", "lookback", "previous_token", "confidence", "renyi_support"]


def weights(q, k, visible, sinks=None, scale=None):
    """A in f64, [B, Hq, Tq, Tk]."""
    q, k = np.asarray(q, np.float64), np.asarray(k, np.float64)
    k = np.repeat(k, q.shape[2] // k.shape[2], axis=2)
    scale = q.shape[3] ** -0.5 if scale is None else scale
    s = np.where(visible, scale * np.einsum("bihe,bjhe->bhij", q, k), -np.inf)
    total = np.exp(s).sum(-1, keepdims=True)
    if sinks is not None:
        total = total + np.exp(np.reshape(sinks, (1, -1, 1, 1)))
    return np.exp(s) / total


def figures(a):
    """The metrics of rows of weights without a sink."""
    distance = np.arange(a.shape[2])[:, None] - np.arange(a.shape[3]) + a.shape[3] - a.shape[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(a > 0, a * np.log(a), 0).sum(-1)
    return {
        "entropy": entropy,
        "sink_mass": a[..., 0],
        "lookback": (a * distance).sum(-1),
        "previous_token": (a * (distance == 1)).sum(-1),
        "confidence": a.max(-1),
        "renyi_support": 1 / (a**2).sum(-1),
    }


def figures_of_tokens(a, tokens, of_class, links):
    """Those that keys have by their tokens, [B, T], and the rest, of causal weights."""
    same = tokens[:, :, None] == tokens[:, None, :]  # query i, key j
    after = np.zeros_like(same)
    after[:, :, 1:] = same[:, :, :-1]
    causal = np.tri(a.shape[-1], dtype=bool)
    repeated = (same & causal & ~np.eye(a.shape[-1], dtype=bool))[:, None]
    seen = (a > 0).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = figures(a)["entropy"]
        normalised = np.where(seen > 1, entropy / np.log(seen), 0)
    linked = np.take_along_axis(a, np.maximum(links, 0)[None, None, :, None], -1)[..., 0]
    return {
        "normalised_entropy": normalised,
        "support": np.exp(entropy),
        "learned_sink": np.zeros_like(entropy),
        "locality": np.where(
            np.abs(np.subtract.outer(*[np.arange(a.shape[-1])] * 2)) < 128, a, 0
        ).sum(-1),
        "duplicate_token": (a * repeated).sum(-1),
        "induction": (a * (after & causal)[:, None]).sum(-1),
        "token_class": a[..., of_class].sum(-1),
        "link": np.where(links >= 0, linked, 0),
    }


def expect_rows(got, a, limit=1e-5, **more):
    for metric, exact in {**figures(a), **more}.items():
        tolerance = limit * np.maximum(1, np.abs(exact))
        assert (np.abs(np.asarray(got.rows(metric)) - exact) <= tolerance).all(), metric


def test_rows_and_means_are_those_of_the_matrix():
    q, k = random(2, 90, 4, 16, seed=1), random(2, 90, 2, 16, seed=2)
    got = rapt.observe(
        q, k, mask=rapt.Mask.causal(), metrics=METRICS, keep_rows=True, distances=True
    )
    a = weights(q, k, np.tri(90, dtype=bool))
    expect_rows(got, a)
    assert got.metrics == METRICS and (got.batch, got.heads) == (2, 4)
    assert np.allclose(got.mean("entropy"), figures(a)["entropy"].mean((0, 2)), atol=1e-5)
    of_one = figures(a)["lookback"][1].mean(-1)
    assert np.allclose(got.mean("lookback", sequence=1), of_one, atol=1e-4)
    assert got.count("previous_token") == [2 * 89] * 4
    assert np.allclose(np.sum(got.distance_mass(), axis=1), 1, atol=1e-6)


def test_sinks_take_their_part():
    q, k = random(1, 50, 2, 8), random(1, 50, 2, 8, seed=5)
    sinks = [0.5, -1.0]
    got = rapt.observe(q, k, sinks=sinks, metrics=["learned_sink"], keep_rows=True)
    a = weights(q, k, True, sinks)
    assert np.allclose(got.rows("learned_sink"), 1 - a.sum(-1), atol=1e-6)


def test_tokens_classes_and_links():
    q, k = random(1, 40, 1, 8), random(1, 40, 1, 8, seed=5)
    tokens = [n % 13 for n in range(40)]
    got = rapt.observe(
        q,
        k,
        mask=rapt.Mask.causal(),
        metrics=["duplicate_token", "induction", "token_class", "link"],
        tokens=tokens,
        token_class=[n % 5 == 0 for n in range(40)],
        links=[[n // 2 for n in range(40)]],
        keep_rows=True,
    )
    a = weights(q, k, np.tri(40, dtype=bool))[0, 0]
    ids, i = np.array(tokens), 30
    assert got.rows("duplicate_token")[0, 0, i] == pytest.approx(a[i, :i][ids[:i] == ids[i]].sum())
    after = np.flatnonzero(ids[:i] == ids[i]) + 1
    assert got.rows("induction")[0, 0, i] == pytest.approx(a[i, after].sum(), abs=1e-6)
    assert got.rows("token_class")[0, 0, i] == pytest.approx(a[i, ::5].sum(), abs=1e-6)
    assert got.rows("link")[0, 0, i] == pytest.approx(a[i, 15], abs=1e-6)


def test_maps_and_columns():
    q, k = random(1, 64, 2, 8), random(1, 64, 2, 8, seed=5)
    a = weights(q, k, np.tri(64, dtype=bool))
    causal = {"mask": rapt.Mask.causal()}
    pooled = rapt.pooled_map(q, k, query_blocks=4, key_blocks=8, **causal)
    exact = a.reshape(1, 2, 4, 16, 8, 8).sum(-1).mean(3)
    assert np.abs(pooled - exact).max() < 1e-6
    assert np.abs(rapt.attention_received(q, k, **causal) - a.sum(2)).max() < 1e-5


def test_heads_are_compared():
    q, k = random(1, 64, 3, 8), random(1, 64, 1, 8, seed=5)
    q[:, :, 2] = q[:, :, 0]
    got = rapt.head_similarity(q, k, mask=rapt.Mask.causal())
    a = weights(q, k, np.tri(64, dtype=bool))[0]
    exact = np.sqrt(a[:, None] * a[None]).sum(-1).mean(-1)
    assert np.abs(np.reshape(got.bhattacharyya, (3, 3)) - exact).max() < 1e-5
    assert got.kl[2] < 1e-6 < got.kl[1]


def test_weights_of_keys_and_copying():
    q, k = random(1, 30, 2, 8), random(1, 30, 2, 8, seed=5)
    norms = np.abs(random(1, 2, 30, seed=6))
    got = rapt.observe(q, k, metrics=["weighted_mass"], key_weights=norms, keep_rows=True)
    exact = (weights(q, k, True) * norms[:, :, None]).sum(-1)
    assert np.abs(got.rows("weighted_mass") - exact).max() < 1e-5
    w_v, w_o, s = random(8, 24), random(24, 8, seed=1), random(24, 24, seed=2)
    eigenvalues = np.linalg.eigvals(w_v.astype(float) @ s @ w_o)
    exact = eigenvalues.sum().real / np.abs(eigenvalues).sum()
    assert rapt.copying_score(w_v, w_o, s) == pytest.approx(exact, abs=1e-9)


def test_unknown_metrics_are_refused():
    q = random(1, 4, 1, 8)
    with pytest.raises(rapt.Error, match=r"observe\.metrics: expected one of entropy, .*entropi"):
        rapt.observe(q, q, metrics=["entropi"])
    with pytest.raises(rapt.Error, match=r"ObserveOptions.tokens: expected 4 or 4 elements, got 0"):
        rapt.observe(q, q, metrics=["induction"])


def test_layers_of_a_model(model, tokenizer):
    text = tokenizer.encode("The cat sat on the mat. The cat sat on the mat. The dog lay down.")
    layers = rapt.observe_layers(
        model, text, metrics=["entropy", "induction", "previous_token"], distances=True
    )
    assert len(layers) == model.config.num_hidden_layers
    for layer in layers:
        assert layer.heads == model.config.num_attention_heads
        assert layer.count("entropy") == [len(text)] * layer.heads
        assert all(0 <= x <= np.log(len(text)) for x in layer.mean("entropy"))
        assert np.allclose(np.sum(layer.distance_mass(), axis=1), 1, atol=1e-6)


def test_chance_is_that_of_equal_weights():
    q, k = random(2, 40, 2, 8), random(2, 40, 2, 8, seed=5)
    got = rapt.observe_uniform(
        q, k, mask=rapt.Mask.causal(), sinks=[1.0, 2.0], metrics=METRICS, keep_rows=True
    )
    expect_rows(got, weights(0 * q, k, np.tri(40, dtype=bool)))


def test_top_keys_and_what_a_head_retrieves():
    q, k = np.zeros((1, 3, 2, 10), np.float32), np.zeros((1, 10, 1, 10), np.float32)
    k[0, :, 0] = np.eye(10)
    for step in range(3):  # head 0 looks at what is written, head 1 at the key after it
        q[0, step, 0, 3 + step] = q[0, step, 1, 4 + step] = 9
    top = rapt.top_keys(q, k, rows=[0, 2])
    assert top.shape == (1, 2, 2, 1) and top.ravel().tolist() == [3, 5, 4, 6]
    run = {"rows": range(3), "tokens": range(10, 20), "needle": (3, 7)}
    assert rapt.retrieval_scores(q, k, emitted=[13, 14, 15], **run) == [0.75, 0]
    with pytest.raises(rapt.Error, match=r"RetrievalRun\.emitted: expected 3 tokens"):
        rapt.retrieval_scores(q, k, emitted=[13], **run)


@pytest.mark.parametrize("length", [7, 40, 512])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_every_metric_agrees_with_eager(name, length):
    rapt.transformers.register()
    model = family_model(name)
    torch.manual_seed(length)
    tokens = torch.randint(1, VOCABULARY, (2, length))
    of_class = np.arange(length) % 5 == 0
    links = np.arange(length) // 2 - 1
    model.set_attn_implementation("eager")
    with torch.no_grad():
        eager = model(input_ids=tokens, output_attentions=True, use_cache=False).attentions
    model.set_attn_implementation("rapt")
    found = rapt.transformers.observe(
        model,
        metrics=[*METRICS, *OTHERS],
        token_class=of_class.tolist(),
        links=links.tolist(),
        keep_rows=True,
        input_ids=tokens,
    )
    assert len(found) == len(eager)
    for statistics, a in zip(found.values(), eager):
        exact = a.double().numpy()
        more = figures_of_tokens(exact, tokens.numpy(), of_class, links)
        assert sorted(more) == sorted(OTHERS)
        expect_rows(statistics, exact, limit=1e-4, **more)  # eager is in f32, too


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_models_of_transformers_agree_with_eager(name):
    rapt.transformers.register()
    model = family_model(name)
    torch.manual_seed(2)
    tokens = torch.randint(1, VOCABULARY, (2, 40))
    model.set_attn_implementation("eager")
    with torch.no_grad():
        eager = model(input_ids=tokens, output_attentions=True, use_cache=False).attentions
    model.set_attn_implementation("rapt")
    with torch.no_grad():
        before = model(input_ids=tokens, use_cache=False).logits
    found = rapt.transformers.observe(model, metrics=METRICS, keep_rows=True, input_ids=tokens)
    assert len(found) == len(eager)
    for statistics, a in zip(found.values(), eager):
        expect_rows(statistics, a.double().numpy())
    with torch.no_grad():
        assert torch.equal(model(input_ids=tokens, use_cache=False).logits, before)
    repeated = rapt.transformers.observe(
        model, metrics=["induction"], input_ids=torch.cat([tokens, tokens], 1)
    )
    assert max(layer.count("induction")[0] for layer in repeated.values()) >= 80


def test_encoder_decoders_have_no_metrics_of_tokens():
    rapt.transformers.register()
    model = family_model("bart")
    model.set_attn_implementation("rapt")
    ids = torch.ones(1, 5, dtype=torch.long)
    texts = {"input_ids": ids, "decoder_input_ids": ids}
    found = rapt.transformers.observe(model, metrics=["entropy"], **texts)
    assert any("encoder_attn" in name for name in found)
    with pytest.raises(rapt.Error, match=r"observe\.metrics: expected none of tokens .*induction"):
        rapt.transformers.observe(model, metrics=["entropy", "induction"], **texts)


def test_modules_that_are_called_twice_are_refused():
    class Twice(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.config = model, model.config

        def forward(self, **inputs):
            return self.model(**inputs), self.model(**inputs)

    rapt.transformers.register()
    model = family_model("llama")
    model.set_attn_implementation("rapt")
    ids = torch.ones(1, 5, dtype=torch.long)
    with pytest.raises(rapt.Error, match=r"observe\.model: expected one call a module, got two"):
        rapt.transformers.observe(Twice(model), input_ids=ids)


def test_other_implementations_are_refused():
    model = family_model("llama")
    model.set_attn_implementation("eager")
    with pytest.raises(rapt.Error, match=r"observe\.model: expected one with"):
        rapt.transformers.observe(model, input_ids=torch.ones(1, 5, dtype=torch.long))
