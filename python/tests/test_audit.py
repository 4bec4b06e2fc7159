import pathlib

import numpy as np
import oracle
import pytest
import torch

import rapt

T = 24
Q, K, V = (oracle.random(1, T, 2, 8, seed=s) for s in range(3))
VISIBLE = np.tri(T, dtype=bool)[None, None]


def softmax_attention(q, k, v, bias):
    s = np.einsum("bihe,bjhe->bhij", q, k) / np.sqrt(np.float32(8)) + bias
    with np.errstate(invalid="ignore"):
        p = np.exp(s - s.max(axis=3, keepdims=True))
        return np.einsum("bhij,bjhe->bihe", p / p.sum(axis=3, keepdims=True), v)


def test_rapt_passes():
    def causal(q, k, v):
        return rapt.attention(q, k, v, mask=rapt.Mask.causal(), return_lse=True)

    for rule in (VISIBLE, lambda b, h, i, j: j <= i):
        report = rapt.audit(causal, rule, Q, K, V)
        assert report.passed and report.findings == [] and report.first() is None
        assert report.queries == list(range(T))


def test_a_large_negative_bias_lets_nan_through():
    def biased(q, k, v):
        return softmax_attention(q, k, v, np.where(VISIBLE, 0, np.float32(-1e9)))

    report = rapt.audit(biased, VISIBLE, Q, K, V)
    assert not report.passed
    assert {f.check for f in report.findings} >= {"poison nan"}
    assert all(f.key > f.query for f in report.findings if f.key >= 0)


def test_a_window_off_by_one_is_found():
    report = rapt.audit(
        lambda q, k, v: rapt.attention(q, k, v, mask=rapt.Mask.sliding_window(5)),
        lambda b, h, i, j: i - 4 < j <= i,
        Q,
        K,
        V,
    )
    first = report.first()
    assert (first.check, first.query, first.key) == ("hidden mass", 4, 0), first
    assert "hidden mass" in repr(first)


def test_torch_functions_get_tensors():
    def torchs(q, k, v):
        assert isinstance(q, torch.Tensor)
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        o = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        return o.transpose(1, 2)

    tensors = [torch.from_numpy(x) for x in (Q, K, V)]
    assert rapt.audit(torchs, np.ones((1, 1, T, T), bool), *tensors).passed
    report = rapt.audit(torchs, VISIBLE, *tensors)
    assert report.first().check == "hidden mass"


def test_what_goes_wrong_inside_comes_out():
    with pytest.raises(ZeroDivisionError):
        rapt.audit(lambda q, k, v: 1 / 0, VISIBLE, Q, K, V)
    with pytest.raises(rapt.Error, match=r"audit.fn o"):
        rapt.audit(lambda q, k, v: q[:, :3], VISIBLE, Q, K, V)
    for shape in ((T, T), (1, 1, T, T - 1), (1, 1, T + 1, T), (3, 1, 1, 1)):
        with pytest.raises(rapt.Error, match=r"audit.visible"):
            rapt.audit(lambda q, k, v: q, np.ones(shape, bool), Q, K, V)


@pytest.fixture(scope="module")
def model():
    return rapt.Model.load(pathlib.Path(__file__).parents[2] / "models" / "default")


def test_a_model_passes(model):
    parts = []
    report = rapt.audit_model(model, range(3, 23), queries=4, progress=parts.append)
    assert report.passed and report.first() is None and report.prefixes.passed
    layers = model.config.num_hidden_layers
    assert [x.layer for x in report.layers] == list(range(layers))
    assert all(x.report.passed and len(x.report.queries) == 4 for x in report.layers)
    assert {1, 16, 19} <= set(report.prefixes.cuts) and report.prefixes.findings == []
    assert parts[0] == f"layer 1 of {layers}" and parts[-1].startswith("prefixes, run")


def test_an_audit_of_a_model_refuses_and_can_be_ended(model):
    with pytest.raises(rapt.Error, match="at least two"):
        rapt.audit_model(model, [1])

    def end(part):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rapt.audit_model(model, [1, 2, 3], progress=end)


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_prefixes_of_any_function(library):
    table = oracle.random(50, 50)
    calls = []

    def logits(tokens, ahead=0):
        calls.append(len(tokens))
        sums = np.cumsum(table[tokens], axis=0, dtype=np.float32)
        sums[: len(sums) - ahead] += ahead * table[tokens][ahead:]
        return library(sums)

    report = rapt.audit_prefixes(logits, range(30), 50)
    assert report.passed and report.cuts[0] == 1 and calls[0] == 30
    report = rapt.audit_prefixes(lambda tokens: logits(tokens, 1), np.arange(30), 50)
    finding = report.findings[0]
    assert not report.passed and finding.check == "suffix" and finding.key == finding.query + 1
    with pytest.raises(rapt.Error, match=r"audit_prefixes\.logits: expected float32"):
        rapt.audit_prefixes(lambda tokens: table[tokens].astype(np.float64), [1, 2], 50)
    with pytest.raises(rapt.Error, match="audit_prefixes logits: expected"):
        rapt.audit_prefixes(lambda tokens: table[:1], [1, 2], 50)
