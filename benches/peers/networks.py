"""Whole networks, inference and training steps: cnnc beside PyTorch and ONNX Runtime. See README.md."""

import argparse

import numpy as np

from common import ROOT, Cnnc, Table, agree, least, limit_threads

# name, program, net, batches
INFER = [
    ("LeNet-5", "lenet5.cnn", None, [1, 16]),
    ("figure 9.11 left", "classifiers.cnn", "FixedSize", [1, 16]),
    ("all-convolutional", "all_conv.cnn", None, [1, 16]),
    ("ResNet-18", "resnet18.cnn", None, [1, 16]),
    ("ResNet-50", "resnet50.cnn", None, [1, 16]),
    ("VGG-16", "vgg16.cnn", None, [1, 16]),
    ("MobileNet-v1", "mobilenet_v1.cnn", None, [1, 16]),
    ("SqueezeNet", "squeezenet.cnn", None, [1, 16]),
]
TRAIN = [
    ("LeNet-5", "lenet5.cnn", None, 64),
    ("figure 9.11 left", "classifiers.cnn", "FixedSize", 8),
    ("all-convolutional", "all_conv.cnn", None, 64),
    ("ResNet-20", "resnet20.cnn", None, 64),
    ("ResNet-18", "resnet18.cnn", None, 8),
    ("U-Net", "unet.cnn", None, 4),
]


def exported(cnnc, program, net, batch):
    """The network with seeded weights as an ONNX file, and the shape of its first input."""
    path = cnnc.scratch / f"{program}.{net}.{batch}.onnx"
    args = ["export", ROOT / "examples" / program, "-o", path, "--batch", batch]
    cnnc.call(*args, *(["--net", net] if net else []))
    import onnx

    graph = onnx.load(path).graph
    stored = {i.name for i in graph.initializer}
    first = next(i for i in graph.input if i.name not in stored)
    return path, first.name, [d.dim_value for d in first.type.tensor_type.shape.dim]


def session(path, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def bench(cnnc, program, net, batch, which, seconds):
    args = [ROOT / "examples" / program, "--batch", batch, "--pass", which, *(["--net", net] if net else [])]
    return cnnc.bench(*args, seconds=seconds)


def infer(cnnc, args, table, name, program, net, batch):
    import torch
    from torch_net import Net

    path, port, shape = exported(cnnc, program, net, batch)
    x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    ort = session(path, cnnc.threads)
    expected = ort.run(None, {port: x})[0]
    model = Net(path).eval()
    plain = torch.from_numpy(x)
    last = plain.contiguous(memory_format=torch.channels_last) if plain.dim() == 4 else plain
    model_last = Net(path).eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        agree(f"{name}: torch", model(plain).numpy(), expected)
    cnnc_args = ["run", ROOT / "examples" / program, "--batch", batch, "--threads", cnnc.threads, "--cpu", cnnc.cpu]
    np.save(cnnc.scratch / "x.npy", x)
    out = cnnc.scratch / "y.npy"
    cnnc.call(*cnnc_args, *(["--net", net] if net else []), "--input", cnnc.scratch / "x.npy", "--output", out)
    agree(name, np.load(out).reshape(expected.shape), expected)
    runs = {
        "torch": lambda: model(plain),
        "torch last": lambda: model_last(last),
        "onnxruntime": lambda: ort.run(None, {port: x}),
    }
    if args.compile:
        torch._dynamo.reset()  # else it gives up compiling after eight models
        compiled = torch.compile(model_last)
        runs["compile"] = lambda: compiled(last)
    ours, theirs, flops = np.inf, {}, 0
    for _ in range(args.rounds):
        row = bench(cnnc, program, net, batch, "infer", args.seconds)
        ours, flops = min(ours, row["min_ms"]), row["flops"]
        for peer, run in runs.items():
            with torch.inference_mode():
                theirs[peer] = min(theirs.get(peer, np.inf), least(run, args.seconds))
    table.row(f"{name}, N={batch}, infer", flops, ours, theirs)


def train(cnnc, args, table, name, program, net, batch):
    import torch
    import torch.nn.functional as F
    from torch_net import Net

    path, _, shape = exported(cnnc, program, net, batch)
    rng = np.random.default_rng(3)
    plain = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))

    def step_of(model, x):
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9, weight_decay=1e-4)
        with torch.no_grad():
            y = model(x)
        labels = torch.from_numpy(rng.integers(0, y.shape[1], (y.shape[0], *y.shape[2:])))

        def step():
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(x), labels).backward()
            optimizer.step()

        return step

    last = plain.contiguous(memory_format=torch.channels_last) if plain.dim() == 4 else plain
    runs = {
        "torch": step_of(Net(path), plain),
        "torch last": step_of(Net(path).to(memory_format=torch.channels_last), last),
    }
    if args.compile:
        torch._dynamo.reset()  # else it gives up compiling after eight models
        runs["compile"] = step_of(torch.compile(Net(path).to(memory_format=torch.channels_last)), last)
    ours, theirs, flops = np.inf, {}, 0
    for _ in range(args.rounds):
        row = bench(cnnc, program, net, batch, "train", args.seconds)
        ours, flops = min(ours, row["min_ms"]), row["flops"]
        for peer, run in runs.items():
            theirs[peer] = min(theirs.get(peer, np.inf), least(run, args.seconds))
    table.row(f"{name}, N={batch}, train", flops, ours, theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cnnc", default=ROOT / "target/release/cnnc")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu", default="native")
    parser.add_argument("--passes", nargs="+", default=["infer", "train"])
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--compile", action="store_true", help="torch.compile too; needs a C++ compiler")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="a measurement, times rounds and libraries")
    args = parser.parse_args()
    limit_threads(args.threads)
    import torch

    torch.set_num_threads(args.threads)
    cnnc = Cnnc(args.cnnc, args.threads, args.cpu)
    peak = cnnc.bench("-e", "relu", "--input", "[c: 4]", seconds=0.05)["peak_gflops"]
    print(f"{args.threads} thread(s), multiply-add peak {peak:.0f} GFLOP/s, torch {torch.__version__}")
    peers = ["torch", "torch last", *(["compile"] if args.compile else []), "onnxruntime"]
    if "infer" in args.passes:
        table = Table(peers, peak)
        for name, program, net, batches in INFER:
            for batch in batches:
                if args.only in name:
                    infer(cnnc, args, table, name, program, net, batch)
        table.end()
    if "train" in args.passes:
        table = Table(peers, peak)
        for name, program, net, batch in TRAIN:
            if args.only in name:
                train(cnnc, args, table, name, program, net, batch)
        table.end()


if __name__ == "__main__":
    main()
