"""Topic 5.1, structured masks: each says which keys a query sees, before the softmax. Rows sum to
one over the keys they see, and what a hidden key or value holds, NaN included, reaches no bit."""

import numpy as np
from example import Proof, random

import rapt
from rapt import Mask

proof = Proof()
T = 12
q, k, v = (random(1, T, 1, 16, seed=s) for s in range(3))
documents = [[1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3]]
# What the system says (0), the user (1), a tool (2) and the assistant (3): a row for who sees.
kinds = [[0, 0, 0, 1, 1, 2, 2, 2, 1, 3, 3, 3]]
sees = [
    [True, False, False, False],
    [True, True, False, False],
    [True, False, True, False],
    [True, True, True, True],
]
MASKS = {
    "causal": Mask.causal(),
    "sliding window": Mask.sliding_window(4),
    "prefix": Mask.causal() | Mask.prefix([4]),
    "documents": Mask.documents(documents) & Mask.causal(),
    "structured prompt": Mask.structure(kinds, sees) & Mask.causal(),
    "window and global": (Mask.window(2, 2) | Mask.global_([[0]])) & Mask.causal(),
    "everything but its own key": ~Mask.window(0, 0) & Mask.causal(),
}


def row_without_hidden(mask: Mask, visible: np.ndarray, i: int) -> np.ndarray:
    poisoned = [x.copy() for x in (k, v)]
    for x in poisoned:
        x[0, ~visible[i]] = np.nan
    return rapt.attention(q, *poisoned, mask=mask)[0, i]


for title, mask in MASKS.items():
    print(f"\n{title}: {mask!r}\n\n{mask.draw(T)}")
    visible = mask.visible(T)[0, 0]
    plan = rapt.make_plan(rapt.Problem(q_tokens=T, kv_tokens=T, q_heads=1, head_dim=16, mask=mask))
    weights = rapt.attention_rows(plan, q, k, v, rows=range(T))[0, 0]
    sums = np.where(visible.any(axis=1), 1, 0)
    proof(
        np.abs(weights.sum(axis=1) - sums).max() < 1e-6 and not weights[~visible].any(),
        "rows sum to one over visible keys; hidden keys weigh 0",
    )
    o = rapt.attention(q, k, v, mask=mask)
    same = all((row_without_hidden(mask, visible, i) == o[0, i]).all() for i in range(T))
    proof(same, "NaN in every key and value that a query does not see changes no bit of its row")


def softmax_with_a_huge_bias(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """What many do instead of hiding: a finite number takes the place of minus infinity."""
    s = np.einsum("bihe,bjhe->bhij", q, k) / 4 + np.where(np.tri(T), 0, np.float32(-1e9))
    with np.errstate(invalid="ignore"):
        p = np.exp(s - s.max(axis=3, keepdims=True))
        return np.einsum("bhij,bjhe->bihe", p / p.sum(axis=3, keepdims=True), v)


causal = np.tri(T, dtype=bool)[None, None]
report = rapt.audit(lambda q, k, v: rapt.attention(q, k, v, mask=Mask.causal()), causal, q, k, v)
proof(report.passed, "\nthe audit passes rapt under a causal mask")
report = rapt.audit(softmax_with_a_huge_bias, causal, q, k, v)
proof(not report.passed, f"and finds what a bias of -1e9 lets through: {report.first()}")
proof.exit()
