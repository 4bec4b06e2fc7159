"""ONNX Runtime's MultiHeadAttention and GroupQueryAttention, its operators outside ONNX."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from implementation import Implementation, Unsupported, visible_pairs

DOMAIN = "com.microsoft"
ONNX_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32}


def info(name, array):
    return helper.make_tensor_value_info(name, ONNX_TYPES[array.dtype], array.shape)


def session(operator, order, inputs, outputs, attributes, threads):
    """A session of one node. `order` names its inputs, "" one that is left out."""
    node = helper.make_node(operator, order, list(outputs), domain=DOMAIN, **attributes)
    infos = [[info(*item) for item in arrays.items()] for arrays in (inputs, outputs)]
    graph = helper.make_graph([node], "attention", *infos)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that spin between calls would take a core from whoever is measured next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)


def bound(s, inputs, outputs):
    """A call of `s` that reads and writes these arrays where they are."""
    binding = s.io_binding()
    values = {id(x): onnxruntime.OrtValue.ortvalue_from_numpy(x) for x in inputs.values()}
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, values[id(array)])
    for name, array in outputs.items():
        value = values.get(id(array)) or onnxruntime.OrtValue.ortvalue_from_numpy(array)
        binding.bind_ortvalue_output(name, value)

    def call():
        s.run_with_iobinding(binding)
        return outputs["o"]

    return call


class OnnxRuntime(Implementation):
    operator = ""

    def __init__(self):
        self.name = f"ONNX Runtime {self.operator}"

    def calls(self, case, operands, threads):
        if case.dtype == "bf16":
            raise Unsupported("no CPU kernel of this operator takes bf16")
        attributes = self.attributes(case)
        q = operands.q("tokens").reshape(1, case.q_tokens, -1)
        s, made = None, []
        for k, v in operands.kv("heads" if case.decodes else "tokens"):
            order, inputs, outputs = self.arrays(case, q, k, v)
            outputs = {"o": np.zeros_like(q), **outputs}
            s = s or session(self.operator, order, inputs, outputs, attributes, threads)
            made.append(bound(s, inputs, outputs))
        return made

    def heads(self, case, output):
        tokens = output.reshape(1, case.q_tokens, case.q_heads, case.head_dim)
        return tokens.transpose(0, 2, 1, 3)


class MultiHeadAttention(OnnxRuntime):
    operator = "MultiHeadAttention"

    def attributes(self, case):
        if case.group > 1:
            raise Unsupported("this operator has as many heads of keys as of queries")
        causal = not case.decodes and not case.window
        return {"num_heads": case.q_heads, "unidirectional": int(causal)}

    def arrays(self, case, q, k, v):
        if not case.decodes:
            k, v = (x.reshape(1, case.kv_tokens, -1) for x in (k, v))
        inputs, order = {"q": q, "k": k, "v": v}, ["q", "k", "v"]
        if case.window:
            bias = np.where(visible_pairs(case), 0, -np.inf).astype(np.float32)
            inputs["bias"] = bias[None, None]
            order += ["", "", "bias"]
        return order, inputs, {}


class GroupQueryAttention(OnnxRuntime):
    """A decode appends the last key, in place, to a cache that holds the others."""

    operator = "GroupQueryAttention"

    def attributes(self, case):
        heads = {"num_heads": case.q_heads, "kv_num_heads": case.kv_heads}
        return heads | ({"local_window_size": case.window} if case.window else {})

    def arrays(self, case, q, k, v):
        inputs = {
            "lengths": np.array([case.kv_tokens - 1], np.int32),
            "total": np.array([case.kv_tokens], np.int32),
        }
        order = ["q", "k", "v", "past_k", "past_v", "lengths", "total"]
        if case.decodes:
            last = [np.array(x[:, :, -1:]).reshape(1, 1, -1) for x in (k, v)]
            inputs |= {"q": q, "k": last[0], "v": last[1], "past_k": k, "past_v": v}
            return order, inputs, {"present_k": k, "present_v": v}
        order[3:5] = ["", ""]
        k, v = (x.reshape(1, case.kv_tokens, -1) for x in (k, v))
        present = (1, case.kv_heads, case.kv_tokens, case.head_dim)
        outputs = {name: np.empty(present, np.float32) for name in ("present_k", "present_v")}
        return order, inputs | {"q": q, "k": k, "v": v}, outputs


def implementations():
    return [MultiHeadAttention(), GroupQueryAttention()]


def version():
    return {"onnxruntime": onnxruntime.__version__}
