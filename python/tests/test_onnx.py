"""ONNX's node tests of Attention and RotaryEmbedding, as the installed package makes them."""

import warnings

import numpy as np
import onnx
import pytest
from onnx.backend.test.case.node import collect_testcases

import rapt


class Case:
    def __init__(self, case):
        (node,) = case.model.graph.node
        inputs, outputs = case.data_sets[0]
        self.name = case.name
        self.attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        self.inputs = dict(zip([n for n in node.input if n], inputs, strict=True))
        self.outputs = dict(zip([n for n in node.output if n], outputs, strict=True))


def cases(op):
    """Those of one node: the others are the same, written out in simpler operators."""
    return [Case(c) for c in COLLECTED if [n.op_type for n in c.model.graph.node] == [op]]


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of other operators' cases
    COLLECTED = collect_testcases()
ATTENTION, ROTARY = cases("Attention"), cases("RotaryEmbedding")


def test_all_are_here():
    assert (len(ATTENTION), len(ROTARY)) == (93, 8)


def heads_of(x, heads):
    """[B, T, H, D] of [B, H, T, D] or [B, T, H D], without a copy."""
    if x.ndim == 4:
        return x.transpose(0, 2, 1, 3)
    return x.reshape(*x.shape[:2], heads, x.shape[2] // heads)


class Attention:
    """One case in terms of rapt."""

    def __init__(self, case):
        self.case, get = case, case.attributes.get
        self.q = heads_of(case.inputs["Q"], get("q_num_heads"))
        self.k = self.after_past("past_key", heads_of(case.inputs["K"], get("kv_num_heads")))
        self.v = self.after_past("past_value", heads_of(case.inputs["V"], get("kv_num_heads")))
        self.options = {"scale": get("scale"), "softcap": get("softcap") or None}
        if "nonpad_kv_seqlen" in case.inputs:
            lengths = case.inputs["nonpad_kv_seqlen"]
            self.options["kv_ranges"] = [(0, n) for n in lengths.tolist()]
        else:
            past = case.inputs["past_key"].shape[2] if "past_key" in case.inputs else 0
            self.options["q_positions"] = range(past, past + self.q.shape[1])
        self.mask = self.bands()
        self.bias = None
        if "attn_mask" in case.inputs:
            self.take_mask(case.inputs["attn_mask"])

    def after_past(self, name, fresh):
        past = self.case.inputs.get(name)
        return fresh if past is None else np.concatenate([heads_of(past, 0), fresh], axis=1)

    def bands(self):
        get = self.case.attributes.get
        far = 1 << 30
        left, right = get("left_window_size", -1), get("right_window_size", -1)
        mask = rapt.Mask.window(far if left < 0 else left, far if right < 0 else right)
        return mask & rapt.Mask.causal() if get("is_causal") else mask

    def take_mask(self, given):
        """Axes are those of [B, Hq, Tq, Tk] from the right; keys beyond it are hidden."""
        keep = given.dtype == bool
        given = given.reshape((1,) * (4 - given.ndim) + given.shape)
        padded = np.full((*given.shape[:3], self.k.shape[1]), False if keep else -np.inf)
        padded[..., : given.shape[3]] = given
        if keep:
            self.mask = self.mask & rapt.Mask.dense(padded.astype(bool))
        else:
            self.bias = padded.astype(np.float32)

    def run(self):
        return rapt.attention(
            self.q, self.k, self.v, mask=self.mask, bias=self.bias, **self.options
        )

    def matrix(self, mode):
        """0 the scaled product, 1 after the softcap, 2 after mask and bias, 3 after the softmax."""
        q, k, v = (x.astype(np.float32) for x in (self.q, self.k, self.v))
        options = dict(self.options)
        if mode < 1:
            options["softcap"] = None
        bias = self.bias if mode >= 2 else None
        problem = rapt.Problem(
            batch=q.shape[0],
            q_tokens=q.shape[1],
            kv_tokens=k.shape[1],
            q_heads=q.shape[2],
            kv_heads=k.shape[2],
            head_dim=q.shape[3],
            v_head_dim=v.shape[3],
            mask=self.mask if mode >= 2 else None,
            additive_bias=bias is not None,
            **options,
        )
        kind = "weights" if mode == 3 else "scores"
        plan = rapt.make_plan(problem)
        return rapt.attention_rows(plan, q, k, v, rows=range(q.shape[1]), kind=kind, bias=bias)


# ONNX's reference rounds scores and weights, of size 1 and less, to these types as well.
STEPS = {"float32": 0.0, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def check(got, want):
    step = STEPS[want.dtype.name]
    got, want = (x.astype(np.float64) for x in (got, want))
    assert got.shape == want.shape
    finite = np.isfinite(want)
    assert np.array_equal(got[~finite], want[~finite], equal_nan=True)
    got, want = got[finite], want[finite]
    size = np.abs(want)
    limit = 2.0**-21 * np.maximum(1, size) + step * np.maximum(0.5, size)
    assert (np.abs(got - want) <= limit).all(), np.abs(got - want).max()


@pytest.mark.parametrize("case", ATTENTION, ids=lambda c: c.name)
def test_attention(case):
    attention = Attention(case)
    want = case.outputs["Y"]
    o = attention.run()
    assert o.dtype == want.dtype
    check(o.transpose(0, 2, 1, 3) if want.ndim == 4 else o.reshape(want.shape), want)
    for name, present in [("present_key", attention.k), ("present_value", attention.v)]:
        if name in case.outputs:
            assert np.array_equal(present, heads_of(case.outputs[name], 0))
    if "qk_matmul_output" in case.outputs:
        mode = case.attributes.get("qk_matmul_output_mode", 0)
        check(attention.matrix(mode), case.outputs["qk_matmul_output"])


@pytest.mark.parametrize("case", ROTARY, ids=lambda c: c.name)
def test_rotary(case):
    x = heads_of(case.inputs["input"], case.attributes.get("num_heads"))
    cos, sin = case.inputs["cos_cache"], case.inputs["sin_cache"]
    if "position_ids" in case.inputs:
        positions = case.inputs["position_ids"]
        cos, sin = cos[positions], sin[positions]
    pairs = cos.shape[-1]
    style = "interleaved" if case.attributes.get("interleaved") else "half"
    table = rapt.RotaryTable(cos.reshape(-1, pairs), sin.reshape(-1, pairs), style=style)
    want = case.outputs["output"]
    y = rapt.apply_rotary(table, x)
    check(y.transpose(0, 2, 1, 3) if want.ndim == 4 else y.reshape(want.shape), want)
