"""Peak memory of training steps: cnnc's whole process beside what PyTorch's process grows by. See README.md."""

import argparse
import os
import resource
import subprocess
import sys

from common import ROOT, Cnnc, limit_threads
from networks import TRAIN, exported

MIB = 1 << 20


def peak():
    """Greatest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def torch_step(path, shape, last):
    """Prints by how much two steps of PyTorch raise the peak over that of a process that has only loaded it."""
    import torch
    import torch.nn.functional as F
    from torch_net import Net

    torch.set_num_threads(1)
    # What libraries allocate when they are first used is not the step's.
    F.conv2d(torch.zeros(1, 16, 8, 8), torch.zeros(16, 16, 3, 3), padding=1)
    before = peak()
    layout = torch.channels_last if last else torch.contiguous_format
    model = Net(path).to(memory_format=layout).train()
    x = torch.randn(shape).contiguous(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9, weight_decay=1e-4)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        y = model(x)
        labels = torch.zeros((y.shape[0], *y.shape[2:]), dtype=torch.long)
        F.cross_entropy(y, labels).backward()
        optimizer.step()
    print(peak() - before)


def of_child(command):
    """Peak resident memory of a process, in bytes."""
    child = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        raise RuntimeError(f"{command} failed")
    return usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cnnc", default=ROOT / "target/release/cnnc")
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    limit_threads(1)
    if args.step:
        last, path, *shape = args.step
        torch_step(path, [int(e) for e in shape], last == "last")
        return
    cnnc = Cnnc(args.cnnc, 1, "native")
    print(f"{'training step':32} {'cnnc MiB':>10} {'torch MiB':>10} {'torch last MiB':>15} {'ratio':>6}")
    for name, program, net, batch in TRAIN:
        if args.only not in name:
            continue
        path, _, shape = exported(cnnc, program, net, batch)
        bench = [cnnc.path, "bench", ROOT / "examples" / program, *(["--net", net] if net else [])]
        ours = of_child([*bench, "--pass", "train", "--batch", batch, "--threads", 1, "--seconds", 0.01])
        theirs = []
        for layout in ("plain", "last"):
            command = [sys.executable, __file__, "--step", layout, path, *shape]
            theirs.append(int(subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout))
        values = [ours / MIB, *(t / MIB for t in theirs)]
        print(f"{name + f', N={batch}':32} {values[0]:10.0f} {values[1]:10.0f} {values[2]:15.0f} {min(values[1:]) / values[0]:6.2f}")


if __name__ == "__main__":
    main()
