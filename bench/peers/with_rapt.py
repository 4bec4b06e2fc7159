"""rapt's Python package: from plain tensors, from its cache, and as torch's function."""

import weakref
from importlib import metadata

import rapt

from implementation import Implementation
from with_torch import OverTensors, array_of, tensor_of


def mask_of(case):
    return rapt.Mask.sliding_window(case.window) if case.window else rapt.Mask.causal()


class RaptTensors(Implementation):
    name = "rapt, tensors"
    native = False  # whether products are native bf16

    def serves(self, case):
        return case.dtype == "bf16" or not self.native

    def options(self, case):
        native = {"arithmetic": "native_bfloat16"} if self.native else {}
        return {"mask": mask_of(case), **native}

    def calls(self, case, operands, threads):
        rapt.set_threads(threads)
        options, q = self.options(case), self.tokens(operands.q("heads"), case)
        copies = [[self.tokens(x, case) for x in copy] for copy in operands.kv("heads")]
        return [lambda k=k, v=v: rapt.attention(q, k, v, **options) for k, v in copies]

    def tokens(self, array, case):
        """[1, H, T, D] as the view [1, T, H, D]."""
        return tensor_of(array, case.dtype).transpose(1, 2)

    def heads(self, case, output):
        return array_of(output.transpose(1, 2))


class RaptCache(RaptTensors):
    name = "rapt, cache"

    def __init__(self):
        self.caches = weakref.WeakKeyDictionary()  # of operands

    def serves(self, case):
        return case.decodes and super().serves(case)

    def lay_out(self, case, operands):
        self.caches[operands] = [
            self.cache(case, *(self.tokens(x, case) for x in copy)) for copy in operands.kv("heads")
        ]

    def cache(self, case, k, v):
        dtype = {"f32": "float32", "bf16": "bfloat16"}[case.dtype]
        extents = {"capacity": case.kv_tokens, "kv_heads": case.kv_heads, "head_dim": case.head_dim}
        made = rapt.DenseKvCache(**extents, dtype=dtype)
        made.append(k, v)
        return made

    def calls(self, case, operands, threads):
        rapt.set_threads(threads)
        if operands not in self.caches:
            self.lay_out(case, operands)
        options, q = self.options(case), self.tokens(operands.q("heads"), case)
        return [lambda c=c: rapt.attention(q, cache=c, **options) for c in self.caches[operands]]


class RaptNative(RaptTensors):
    """Products by the processor's bf16 instructions, or two fma that have their bits."""

    name = "rapt, tensors, native bf16"
    native = True


class RaptNativeCache(RaptCache):
    name = "rapt, cache, native bf16"
    native = True


class RaptTorch(OverTensors):
    """torch's signature; what it costs shows in small calls only."""

    name = "rapt, torch operator"

    def serves(self, case):
        return case.hot and not case.window

    def attend(self, case):
        from rapt.torch import scaled_dot_product_attention

        return lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=not case.decodes)

    def calls(self, case, operands, threads):
        rapt.set_threads(threads)
        return super().calls(case, operands, threads)


def implementations():
    return [RaptTensors(), RaptCache(), RaptNative(), RaptNativeCache(), RaptTorch()]


def version():
    return {"rapt": metadata.version("rapt-attention")}
