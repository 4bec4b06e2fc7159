"""zentorch's attention. Its backend of torch.compile refuses CPUs without AVX-512; the operator
that it would put into the graph does not, so it is called by itself."""

import torch
import zentorch

from implementation import visible_pairs
from with_torch import GroupAsRows, OverTensors


class ZentorchSdpa(OverTensors):
    name = "zentorch"

    def attend(self, case):
        options = {"is_causal": not case.decodes}
        if case.window:
            # As zentorch_sdpa_attn lays out a window, which does it anew in every call.
            bias = torch.zeros(1, 1, case.q_tokens, case.kv_tokens)
            hidden = ~torch.from_numpy(visible_pairs(case))
            options["attn_mask"] = bias.masked_fill(hidden, float("-inf"))
        sdpa = torch.ops.zentorch.zentorch_sdpa
        return lambda q, k, v: sdpa(q, k, v, **options)[0]


class ZentorchGroupAsRows(GroupAsRows, ZentorchSdpa):
    name = "zentorch, group as rows"


def implementations():
    return [ZentorchSdpa(), ZentorchGroupAsRows()]


def version():
    return {"zentorch": zentorch.__version__, "zentorch's torch": torch.__version__}
