"""Single layers: cnnc beside PyTorch and ONNX Runtime. See README.md."""

import argparse
import re

import numpy as np

from common import ROOT, Cnnc, Table, agree, least, limit_threads

# ResNet-50's distinct convolutions at 224x224: input channels, extent, output channels, kernel, stride, padding.
RESNET50 = [
    (3, 224, 64, 7, 2, 3),
    (64, 56, 64, 1, 1, 0),
    (64, 56, 64, 3, 1, 1),
    (64, 56, 256, 1, 1, 0),
    (256, 56, 64, 1, 1, 0),
    (256, 56, 128, 1, 1, 0),
    (256, 56, 512, 1, 2, 0),
    (128, 56, 128, 3, 2, 1),
    (128, 28, 128, 3, 1, 1),
    (128, 28, 512, 1, 1, 0),
    (512, 28, 128, 1, 1, 0),
    (512, 28, 256, 1, 1, 0),
    (512, 28, 1024, 1, 2, 0),
    (256, 28, 256, 3, 2, 1),
    (256, 14, 256, 3, 1, 1),
    (256, 14, 1024, 1, 1, 0),
    (1024, 14, 256, 1, 1, 0),
    (1024, 14, 512, 1, 1, 0),
    (512, 14, 512, 3, 2, 1),
    (512, 7, 512, 3, 1, 1),
    (512, 7, 2048, 1, 1, 0),
    (2048, 7, 512, 1, 1, 0),
    (1024, 14, 2048, 1, 2, 0),
]

# name, axes, cnnc expression, a function of (torch, functional, x, weights) that computes the same, names of weights
SPECIAL = [
    ("depthwise 3x3, 32 at 112", (32, 112, 112), "conv(32, 3x3, pad: 1, groups: 32, bias: false)",
     lambda t, f, x, w: f.conv2d(x, w["conv_1.weight"], padding=1, groups=32)),
    ("depthwise 3x3 s2, 64 at 112", (64, 112, 112), "conv(64, 3x3, stride: 2, pad: 1, groups: 64, bias: false)",
     lambda t, f, x, w: f.conv2d(x, w["conv_1.weight"], stride=2, padding=1, groups=64)),
    ("depthwise 3x3, 512 at 14", (512, 14, 14), "conv(512, 3x3, pad: 1, groups: 512, bias: false)",
     lambda t, f, x, w: f.conv2d(x, w["conv_1.weight"], padding=1, groups=512)),
    ("grouped 3x3, 128 at 28, 32 groups", (128, 28, 28), "conv(128, 3x3, pad: 1, groups: 32, bias: false)",
     lambda t, f, x, w: f.conv2d(x, w["conv_1.weight"], padding=1, groups=32)),
    ("max pool 3x3 s2, 64 at 112", (64, 112, 112), "maxpool(3x3, stride: 2, pad: 1)",
     lambda t, f, x, w: f.max_pool2d(x, 3, 2, 1)),
    ("max pool 2x2, 64 at 112", (64, 112, 112), "maxpool(2x2)",
     lambda t, f, x, w: f.max_pool2d(x, 2)),
    ("average pool 3x3, 256 at 28", (256, 28, 28), "avgpool(3x3, stride: 1, pad: 1)",
     lambda t, f, x, w: f.avg_pool2d(x, 3, 1, 1, count_include_pad=False)),
    ("1-D k 9, 64 at 4096", (64, 4096), "conv(64, 9, pad: 4, bias: false)",
     lambda t, f, x, w: f.conv1d(x, w["conv_1.weight"], padding=4)),
    ("3-D k 3, 16 at 32", (16, 32, 32, 32), "conv(16, 3x3x3, pad: 1, bias: false)",
     lambda t, f, x, w: f.conv3d(x, w["conv_1.weight"], padding=1)),
    ("transposed 2x2 s2, 128 to 64 at 28", (128, 28, 28), "unconv(64, 2x2, stride: 2, bias: false)",
     lambda t, f, x, w: f.conv_transpose2d(x, w["unconv_1.weight"], stride=2)),
    ("transposed 4x4 s2, 128 to 64 at 28", (128, 28, 28), "unconv(64, 4x4, stride: 2, pad: 1, out: 56x56, bias: false)",
     lambda t, f, x, w: f.conv_transpose2d(x, w["unconv_1.weight"], stride=2, padding=1)),
    ("dilated 3x3 d2, 64 at 56", (64, 56, 56), "conv(64, 3x3, pad: 2, dilate: 2, bias: false)",
     lambda t, f, x, w: f.conv2d(x, w["conv_1.weight"], padding=2, dilation=2)),
    ("dense 2048 to 1000", (2048,), "dense(1000, bias: false)",
     lambda t, f, x, w: f.linear(x, w["dense_1.weight"])),
    ("local 3x3, 32 at 28", (32, 28, 28), "conv(32, 3x3, pad: 1, share: none, bias: false)",
     lambda t, f, x, w: local(t, f, x, w["conv_1.weight"])),
    ("tiled 2x2 of 3x3, 64 at 28", (64, 28, 28), "conv(64, 3x3, pad: 1, share: tile(2x2), bias: false)",
     lambda t, f, x, w: tiled(t, f, x, w["conv_1.weight"])),
    ("maxout 2, 128 at 28", (128, 28, 28), "maxpool(c: 2)",
     lambda t, f, x, w: x.reshape(x.shape[0], 64, 2, 28, 28).amax(2)),
]

AXES = {1: "", 2: "t", 3: "hw", 4: "dhw"}


def local(t, f, x, w):
    """PyTorch's usual way to say it: unfold and einsum; w is [h, w, o, i, kh, kw]."""
    n, c, height, width = x.shape
    patches = f.unfold(x, 3, padding=1).reshape(n, c * 9, height, width)
    y = t.einsum("nkhw,hwok->nohw", patches, w.reshape(height, width, w.shape[2], c * 9))
    return y


def tiled(t, f, x, w):
    """One strided convolution a phase; w is [2, 2, o, i, 3, 3]."""
    y = t.empty(x.shape[0], w.shape[2], x.shape[2], x.shape[3])
    padded = f.pad(x, (1, 1, 1, 1))
    for a in range(2):
        for b in range(2):
            phase = padded[:, :, a:, b:]
            height, width = (x.shape[2] - a + 1) // 2, (x.shape[3] - b + 1) // 2
            y[:, :, a::2, b::2] = f.conv2d(phase, w[a, b], stride=2)[:, :, :height, :width]
    return y


def shape_text(dims):
    names = ["c", *AXES[len(dims)]]
    return "[" + ", ".join(f"{n}: {d}" for n, d in zip(names, dims)) + "]"


def weights_of(cnnc, dims, expression, rng):
    """Random weights by the names and shapes that cnnc gives them."""
    text = f"net Bench(x: {shape_text(dims)}) {{\n    x |> {expression}\n}}\n"
    file = cnnc.scratch / "weights.cnn"
    file.write_text(text)
    listing = cnnc.call("compile", file, "--emit", "graph")
    found = {}
    for axes, name in re.findall(r'= param\(.*?\) : \[([^\]]*)\] "([^"]+)"', listing):
        extents = [int(a.split(":")[1]) for a in axes.split(",") if ":" in a]
        fan = max(1, int(np.prod(extents)) // max(extents))
        found[name] = (rng.standard_normal(extents) / np.sqrt(fan)).astype(np.float32)
    return text, found


def ort_session(torch, function, x, threads):
    """The same function as a one-operation ONNX model, or None where it has no single form."""
    import io
    import onnxruntime as ort

    class Module(torch.nn.Module):
        def forward(self, x):
            return function(x)

    buffer = io.BytesIO()
    try:
        torch.onnx.export(Module(), (x,), buffer, input_names=["x"], output_names=["y"], dynamo=False)
    except Exception:
        return None
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])


def measure(cnnc, table, name, dims, expression, function, args, batch, passes):
    import torch
    import torch.nn.functional as F

    rng = np.random.default_rng(7)
    text, weights = weights_of(cnnc, dims, expression, rng)
    x = rng.standard_normal((batch, *dims)).astype(np.float32)
    tensors = {k: torch.from_numpy(v) for k, v in weights.items()}
    plain = torch.from_numpy(x)
    with torch.no_grad():
        expected = function(torch, F, plain, tensors).numpy()
    ours = cnnc.run(text, {"x": x}, weights, batch)
    agree(name, ours.reshape(expected.shape), expected)
    channels_last = len(dims) == 3
    if channels_last:
        last = plain.contiguous(memory_format=torch.channels_last)
        last_weights = {k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v
                        for k, v in tensors.items()}
    # Which input is the greatest is found by PyTorch's forward pass and by our backward pass: the two count together.
    both = expression.startswith("maxpool")
    session = ort_session(torch, lambda t: function(torch, F, t, tensors), plain, cnnc.threads)
    for which in passes:
        runs = {}
        if which == "forward":
            with torch.no_grad():
                runs["torch"] = lambda: function(torch, F, plain, tensors)
                if channels_last:
                    runs["torch last"] = lambda: function(torch, F, last, last_weights)
            if session:
                runs["onnxruntime"] = lambda: session.run(None, {"x": x})
        else:
            runs.update(backward(torch, F, which, function, plain, tensors, "torch", both))
            if channels_last:
                runs.update(backward(torch, F, which, function, last, last_weights, "torch last", both))
        ours, theirs, flops = None, {}, 0
        for _ in range(args.rounds):
            rows = [cnnc.bench("-e", expression, "--input", shape_text(dims), "--batch", batch, "--pass", each,
                               seconds=args.seconds)
                    for each in (["forward", which] if both and which == "data-grad" else [which])]
            core, flops = sum(row["core_ms"] for row in rows), rows[-1]["flops"]
            ours = min(ours or core, core)
            for peer, run in runs.items():
                with torch.no_grad():
                    theirs[peer] = min(theirs.get(peer, np.inf), least(run, args.seconds / 2))
        label = f"forward and {which}" if both and which == "data-grad" else which
        table.row(f"{name}, N={batch}, {label}", flops, ours, theirs)


def backward(torch, F, which, function, x, weights, peer, both):
    """PyTorch's backward pass of one operand, through autograd's own node."""
    x = x.detach().clone().requires_grad_(which == "data-grad")
    leaves = {k: v.detach().clone().requires_grad_(which == "weight-grad") for k, v in weights.items()}
    wanted = [x] if which == "data-grad" else list(leaves.values())
    if not wanted:
        return {}
    with torch.enable_grad():
        y = function(torch, F, x, leaves)
    dy = torch.randn_like(y)

    def run():
        with torch.enable_grad():
            out = function(torch, F, x, leaves) if both else y
            torch.autograd.grad(out, wanted, dy, retain_graph=True)

    return {peer: run}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cnnc", default=ROOT / "target/release/cnnc")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu", default="native")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--passes", nargs="+", default=["forward", "data-grad", "weight-grad"])
    parser.add_argument("--sets", nargs="+", default=["resnet50", "special"])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.2, help="a measurement, times rounds and libraries")
    args = parser.parse_args()
    limit_threads(args.threads)
    import torch

    torch.set_num_threads(args.threads)
    cnnc = Cnnc(args.cnnc, args.threads, args.cpu)
    peak = cnnc.bench("-e", "relu", "--input", "[c: 4]", seconds=0.05)["peak_gflops"]
    print(f"{args.threads} thread(s), multiply-add peak {peak:.0f} GFLOP/s, torch {torch.__version__}")
    peers = ["torch", "torch last", "onnxruntime"]
    for which in args.passes:
        for batch in args.batch:
            table = Table(peers, peak)
            if "resnet50" in args.sets:
                for c, e, o, k, s, p in RESNET50:
                    name = f"{k}x{k} s{s} {c} to {o} at {e}"
                    expression = f"conv({o}, {k}x{k}, stride: {s}, pad: {p}, bias: false)"
                    function = lambda t, f, x, w, s=s, p=p: f.conv2d(x, w["conv_1.weight"], stride=s, padding=p)
                    if args.only in name and not (c == 3 and which == "data-grad"):
                        measure(cnnc, table, name, (c, e, e), expression, function, args, batch, [which])
            if "special" in args.sets:
                for name, dims, expression, function in SPECIAL:
                    trained = any(word in expression for word in ("conv", "dense"))
                    if args.only in name and (trained or which != "weight-grad"):
                        measure(cnnc, table, name, dims, expression, function, args, batch, [which])
            table.end()


if __name__ == "__main__":
    main()
