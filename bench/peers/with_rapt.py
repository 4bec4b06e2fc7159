"""rapt's Python package: from plain tensors, and from its cache."""

from importlib import metadata

import rapt

from implementation import Implementation, Unsupported
from with_torch import array_of, tensor_of


def mask_of(case):
    return rapt.Mask.sliding_window(case.window) if case.window else rapt.Mask.causal()


class RaptTensors(Implementation):
    name = "rapt, tensors"

    def calls(self, case, operands, threads):
        rapt.set_threads(threads)
        mask = mask_of(case)
        q = self.tokens(operands.q("heads"), case)
        copies = [[self.tokens(x, case) for x in copy] for copy in operands.kv("heads")]
        return [lambda k=k, v=v: rapt.attention(q, k, v, mask=mask) for k, v in copies]

    def tokens(self, array, case):
        """[1, H, T, D] as the view [1, T, H, D]."""
        return tensor_of(array, case.dtype).transpose(1, 2)

    def heads(self, case, output):
        return array_of(output.transpose(1, 2))


class RaptCache(RaptTensors):
    name = "rapt, cache"

    def serves(self, case):
        return case.decodes

    def calls(self, case, operands, threads):
        raise Unsupported("the Python package has no cache yet")


class RaptNative(RaptTensors):
    """Products by the processor's bf16 instructions, or their emulation."""

    name = "rapt, native bf16"

    def serves(self, case):
        return case.dtype == "bf16"

    def calls(self, case, operands, threads):
        raise Unsupported("the Python package has no native bf16 yet")


def implementations():
    return [RaptTensors(), RaptCache(), RaptNative()]


def version():
    return {"rapt": metadata.version("rapt-attention")}
