"""OpenVINO's ScaledDotProductAttention, compiled for the CPU."""

import numpy as np
import openvino
from openvino import opset13 as ops

from implementation import Implementation, visible_pairs

TYPES = {"f32": openvino.Type.f32, "bf16": openvino.Type.bf16}


def tensor_of(array, dtype):
    if dtype == "bf16":
        return openvino.Tensor(array, array.shape, openvino.Type.bf16)
    return openvino.Tensor(array, shared_memory=True)


def compiled(model, threads):
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "EXECUTION_MODE_HINT": "ACCURACY",  # computes in the types of the model
    }
    return openvino.Core().compile_model(model, "CPU", options)


class OpenVino(Implementation):
    name = "OpenVINO"

    def q_shape(self, case):
        return [1, case.q_heads, case.q_tokens, case.head_dim]

    def shared(self, case, x):
        """Keys or values as every query head has them, the way exported models repeat them."""
        if case.group == 1:
            return x
        extents = [1, case.kv_heads, case.group, case.kv_tokens, case.head_dim]
        repeated = ops.broadcast(ops.unsqueeze(x, np.array(2)), np.array(extents))
        heads = [1, case.q_heads, case.kv_tokens, case.head_dim]
        return ops.reshape(repeated, np.array(heads), False)

    def model(self, case):
        kv_shape = [1, case.kv_heads, case.kv_tokens, case.head_dim]
        shapes = {"q": self.q_shape(case), "k": kv_shape, "v": kv_shape}
        inputs = [ops.parameter(s, TYPES[case.dtype], name=n) for n, s in shapes.items()]
        q, k, v = inputs[0], *(self.shared(case, x) for x in inputs[1:])
        if case.window:
            mask_shape = [case.q_tokens, case.kv_tokens]
            inputs.append(ops.parameter(mask_shape, openvino.Type.boolean, name="mask"))
            o = ops.scaled_dot_product_attention(q, k, v, inputs[3], causal=False)
        else:
            o = ops.scaled_dot_product_attention(q, k, v, causal=not case.decodes)
        return openvino.Model([o], inputs, "attention")

    def calls(self, case, operands, threads):
        network = compiled(self.model(case), threads)
        q = operands.q("heads").reshape(self.q_shape(case))
        made = []
        for k, v in operands.kv("heads"):
            request = network.create_infer_request()
            tensors = [tensor_of(x, case.dtype) for x in (q, k, v)]
            if case.window:
                tensors.append(openvino.Tensor(visible_pairs(case)))
            for n, tensor in enumerate(tensors):
                request.set_input_tensor(n, tensor)
            made.append(lambda request=request: request.infer(share_outputs=True)[0])
        return made

    def heads(self, case, output):
        stored = output.view(np.uint16) if output.itemsize == 2 else output
        return stored.reshape(1, case.q_heads, case.q_tokens, case.head_dim)


class OpenVinoGroupAsRows(OpenVino):
    name = "OpenVINO, group as rows"

    def serves(self, case):
        return case.decodes and case.group > 1

    def q_shape(self, case):
        return [1, case.kv_heads, case.group, case.head_dim]

    def shared(self, case, x):
        return x


def implementations():
    return [OpenVino(), OpenVinoGroupAsRows()]


def version():
    return {"openvino": openvino.__version__.split("-")[0]}
