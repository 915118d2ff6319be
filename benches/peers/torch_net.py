"""An ONNX model as a PyTorch module, operation by operation, so that every network is the same network everywhere."""

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper


class Net(torch.nn.Module):
    """Runs the nodes in order. Floating-point initializers are parameters; running statistics are buffers."""

    def __init__(self, path):
        super().__init__()
        model = onnx.load(path)
        self.nodes = [(n.op_type, list(n.input), list(n.output), attributes(n)) for n in model.graph.node]
        stored = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self.inputs = [i.name for i in model.graph.input if i.name not in stored]
        self.outputs = [o.name for o in model.graph.output]
        statistics = {x for op, inputs, _, _ in self.nodes if op == "BatchNormalization" for x in inputs[3:5]}
        self.static, self.places = {}, {}
        for i, (name, array) in enumerate(stored.items()):
            if array.dtype != np.float32:
                self.static[name] = array.tolist()
                continue
            self.places[name] = f"w{i}"
            tensor = torch.from_numpy(array.copy())
            if name in statistics:
                self.register_buffer(f"w{i}", tensor)
            else:
                self.register_parameter(f"w{i}", torch.nn.Parameter(tensor))

    def forward(self, *inputs):
        values = dict(zip(self.inputs, inputs))
        values.update({name: getattr(self, place) for name, place in self.places.items()})
        values.update(self.static)
        for op, names, outputs, attrs in self.nodes:
            given = [values[n] if n else None for n in names]
            values[outputs[0]] = OPS[op](self, given, attrs)
        found = [values[o] for o in self.outputs]
        return found[0] if len(found) == 1 else found


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def padded(x, attrs, value=0.0):
    """`x` padded as `pads` says where the two sides differ, and what is left for the operation itself."""
    pads = list(attrs.get("pads", []))
    rank = x.dim() - 2
    pads = pads or [0] * (2 * rank)
    lo, hi = pads[:rank], pads[rank:]
    if attrs.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise NotImplementedError("auto_pad")
    if lo == hi:
        return x, lo
    return F.pad(x, [p for pair in reversed(list(zip(lo, hi))) for p in pair], value=value), [0] * rank


def conv(net, given, attrs):
    x, pads = padded(given[0], attrs)
    run = [F.conv1d, F.conv2d, F.conv3d][x.dim() - 3]
    bias = given[2] if len(given) > 2 else None
    return run(x, given[1], bias, attrs.get("strides", 1), pads, attrs.get("dilations", 1), attrs.get("group", 1))


def conv_transpose(net, given, attrs):
    x, rank = given[0], given[0].dim() - 2
    pads = list(attrs.get("pads", [0] * 2 * rank))
    run = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][rank - 1]
    bias = given[2] if len(given) > 2 else None
    if pads[:rank] != pads[rank:]:
        raise NotImplementedError("asymmetric transposed convolution")
    return run(x, given[1], bias, attrs.get("strides", 1), pads[:rank], attrs.get("output_padding", 0),
               attrs.get("group", 1), attrs.get("dilations", 1))


def batchnorm(net, given, attrs):
    return F.batch_norm(given[0], given[3], given[4], given[1], given[2], net.training,
                        1.0 - attrs.get("momentum", 0.9), attrs.get("epsilon", 1e-5))


def max_pool(net, given, attrs):
    x, pads = padded(given[0], attrs, -torch.inf)
    run = [F.max_pool1d, F.max_pool2d, F.max_pool3d][x.dim() - 3]
    return run(x, attrs["kernel_shape"], attrs.get("strides", [1] * (x.dim() - 2)), pads,
               attrs.get("dilations", 1), bool(attrs.get("ceil_mode", 0)))


def average_pool(net, given, attrs):
    x, pads = padded(given[0], attrs)
    run = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][x.dim() - 3]
    return run(x, attrs["kernel_shape"], attrs.get("strides", [1] * (x.dim() - 2)), pads,
               bool(attrs.get("ceil_mode", 0)), bool(attrs.get("count_include_pad", 0)))


def gemm(net, given, attrs):
    a = given[0].t() if attrs.get("transA", 0) else given[0]
    w = given[1] if attrs.get("transB", 0) else given[1].t()
    return F.linear(a, w, given[2] if len(given) > 2 else None)


def pad(net, given, attrs):
    pads = attrs.get("pads") or given[1]
    rank = given[0].dim()
    lo, hi = pads[:rank], pads[rank:]
    return F.pad(given[0], [p for pair in reversed(list(zip(lo, hi))) for p in pair])


def resize(net, given, attrs):
    x = given[0]
    sizes = given[3] if len(given) > 3 and given[3] is not None else None
    if sizes is None:
        scales = given[2] if torch.is_tensor(given[2]) else torch.tensor(given[2])
        sizes = [int(round(d * float(s))) for d, s in zip(x.shape, scales)]
    return F.interpolate(x, [int(s) for s in sizes[2:]], mode="nearest")


def reduce_mean(net, given, attrs):
    axes = attrs.get("axes") or given[1]
    return given[0].mean(list(axes), keepdim=bool(attrs.get("keepdims", 1)))


OPS = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "BatchNormalization": batchnorm,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "Gemm": gemm,
    "Pad": pad,
    "Resize": resize,
    "ReduceMean": reduce_mean,
    "MatMul": lambda net, g, a: g[0] @ g[1],
    "GlobalAveragePool": lambda net, g, a: g[0].mean(list(range(2, g[0].dim())), keepdim=True),
    "GlobalMaxPool": lambda net, g, a: g[0].amax(list(range(2, g[0].dim())), keepdim=True),
    "Relu": lambda net, g, a: F.relu(g[0]),
    "LeakyRelu": lambda net, g, a: F.leaky_relu(g[0], a.get("alpha", 0.01)),
    "Tanh": lambda net, g, a: torch.tanh(g[0]),
    "Sigmoid": lambda net, g, a: torch.sigmoid(g[0]),
    "Clip": lambda net, g, a: torch.clamp(g[0], a.get("min", g[1] if len(g) > 1 else None),
                                          a.get("max", g[2] if len(g) > 2 else None)),
    "Add": lambda net, g, a: g[0] + g[1],
    "Sub": lambda net, g, a: g[0] - g[1],
    "Mul": lambda net, g, a: g[0] * g[1],
    "Div": lambda net, g, a: g[0] / g[1],
    "Concat": lambda net, g, a: torch.cat(g, a["axis"]),
    "Flatten": lambda net, g, a: g[0].flatten(a.get("axis", 1)),
    "Reshape": lambda net, g, a: g[0].reshape([g[0].shape[i] if d == 0 else d for i, d in enumerate(g[1])]),
    "Squeeze": lambda net, g, a: g[0].squeeze(tuple(a.get("axes") or g[1])),
    "Transpose": lambda net, g, a: g[0].permute(a["perm"]),
    "Softmax": lambda net, g, a: F.softmax(g[0], a.get("axis", -1)),
    "LogSoftmax": lambda net, g, a: F.log_softmax(g[0], a.get("axis", -1)),
    "LRN": lambda net, g, a: F.local_response_norm(g[0], a["size"], a.get("alpha", 1e-4), a.get("beta", 0.75), a.get("bias", 1.0)),
    "Dropout": lambda net, g, a: F.dropout(g[0], 0.5, net.training),
    "Identity": lambda net, g, a: g[0],
}
