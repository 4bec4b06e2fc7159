"""torch's scaled_dot_product_attention, and zentorch's operator, which takes the same tensors."""

import contextlib

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from implementation import Implementation, visible_pairs

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "math": SDPBackend.MATH}


def tensor_of(array, dtype):
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if dtype == "bf16" else tensor


def array_of(tensor):
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.uint16).numpy()
    return tensor.numpy()


class OverTensors(Implementation):
    """Calls of `attend(q, k, v)` on tensors [1, H, T, D]."""

    def attend(self, case):
        """The function of q, k and v."""
        raise NotImplementedError

    def queries(self, case, q):
        return q

    def calls(self, case, operands, threads):
        torch.set_num_threads(threads)
        attend = self.attend(case)
        q = self.queries(case, tensor_of(operands.q("heads"), case.dtype))
        copies = [[tensor_of(x, case.dtype) for x in copy] for copy in operands.kv("heads")]
        return [lambda k=k, v=v: attend(q, k, v) for k, v in copies]

    def heads(self, case, output):
        return array_of(output.reshape(1, case.q_heads, case.q_tokens, case.head_dim))


class GroupAsRows:
    """The query heads of a group laid out as queries of one head: what a caller can do about
    decoding grouped queries where the library itself reads keys once a query head."""

    def serves(self, case):
        return case.decodes and case.group > 1

    def queries(self, case, q):
        return q.reshape(1, case.kv_heads, case.group, case.head_dim)


class TorchSdpa(OverTensors):
    def __init__(self, backend, name=None):
        self.backend, self.name = backend, name or f"torch {backend}"

    def attend(self, case):
        options = {"is_causal": not case.decodes}
        if case.window:
            options = {"attn_mask": torch.from_numpy(visible_pairs(case))}
        elif case.group > 1 and not isinstance(self, GroupAsRows):
            options["enable_gqa"] = True
        return lambda q, k, v: scaled_dot_product_attention(q, k, v, **options)

    def context(self):
        stack = contextlib.ExitStack()
        stack.enter_context(sdpa_kernel(BACKENDS[self.backend]))
        return stack


class TorchGroupAsRows(GroupAsRows, TorchSdpa):
    pass


def implementations():
    return [
        TorchSdpa("flash"),
        TorchSdpa("math"),
        TorchGroupAsRows("flash", "torch flash, group as rows"),
    ]


def version():
    return {"torch": torch.__version__}
