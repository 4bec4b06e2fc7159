"""Attention as a plain loop in f64, and the numbers that tests feed it."""

import numpy as np


def random(*shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def visible_by(predicate, q_tokens, kv_tokens):
    """bool [Tq, Tk] of predicate(place, slot), the last query standing at the last key."""
    place = np.arange(q_tokens)[:, None] + kv_tokens - q_tokens
    return np.broadcast_to(predicate(place, np.arange(kv_tokens)[None]), (q_tokens, kv_tokens))


def attention(q, k, v, visible=True, scale=None, change=lambda s: s, sinks=None):
    """(o, lse) in f64. visible and what `change` adds broadcast to [B, Hq, Tq, Tk]."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    group = q.shape[2] // k.shape[2]
    k, v = (np.repeat(x, group, axis=2) for x in (k, v))
    scale = q.shape[3] ** -0.5 if scale is None else scale
    s = change(scale * np.einsum("bihe,bjhe->bhij", q, k))
    s = np.where(visible, s, -np.inf)
    if sinks is not None:
        sink = np.broadcast_to(np.reshape(sinks, (1, -1, 1, 1)), (*s.shape[:3], 1))
        s = np.concatenate([s, sink], axis=3)
    top = np.max(s, axis=3, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    total = np.exp(s - top).sum(axis=3, keepdims=True)
    p = np.exp(s - top) / np.where(total == 0, 1, total)
    with np.errstate(divide="ignore"):
        lse = (top + np.log(total))[..., 0]
    return np.einsum("bhij,bjhe->bihe", p[..., : k.shape[1]], v), lse
