"""What the comparisons share: running cnnc, timing, tables."""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def limit_threads(threads):
    """Before torch or onnxruntime are imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)


class Cnnc:
    """The command line tool."""

    def __init__(self, path, threads, cpu):
        self.path, self.threads, self.cpu = str(path), threads, cpu
        self.scratch = Path(tempfile.mkdtemp(prefix="cnnc-peers-"))

    def call(self, *args):
        command = [self.path, *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
        return done.stdout

    def bench(self, *args, seconds):
        out = self.call("bench", *args, "--threads", self.threads, "--cpu", self.cpu, "--seconds", seconds, "--json")
        return json.loads(out)

    def run(self, program, inputs, weights=None, batch=1, output="out"):
        """Outputs of a program text or file on arrays by name."""
        from safetensors.numpy import save_file

        if not isinstance(program, Path):
            file = self.scratch / "net.cnn"
            file.write_text(program)
            program = file
        args = ["run", program, "--batch", batch, "--threads", self.threads, "--cpu", self.cpu]
        for name, array in inputs.items():
            path = self.scratch / f"{name}.npy"
            np.save(path, np.ascontiguousarray(array, dtype=np.float32))
            args += ["--input", f"{name}={path}"]
        if weights:
            path = self.scratch / "weights.safetensors"
            save_file({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in weights.items()}, path)
            args += ["--weights", path]
        result = self.scratch / "out.npy"
        self.call(*args, "--output", f"{output}={result}")
        return np.load(result)


def least(run, seconds):
    """The least time of `run`, in milliseconds, of at least three within about `seconds`."""
    run()
    best, count, begin = math.inf, 0, time.perf_counter()
    while count < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
        count += 1
    return best * 1e3


def agree(what, ours, theirs, tolerance=1e-4):
    """Stops when outputs differ by more than `tolerance` of the largest magnitude."""
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if ours.shape != theirs.shape:
        sys.exit(f"{what}: shapes differ, {ours.shape} and {theirs.shape}")
    error = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30)
    if not error <= tolerance:
        sys.exit(f"{what}: outputs differ by {error:.2e} of the largest magnitude")


class Table:
    """Rows of times; the best peer by ours is the ratio."""

    def __init__(self, peers, peak):
        self.peers, self.peak, self.ratios, self.shares = peers, peak, [], []
        head = f"{'work':46} {'cnnc ms':>9} {'GFLOP/s':>8} {'of peak':>7}"
        print(head + "".join(f" {p:>14}" for p in peers) + f" {'ratio':>6}", flush=True)

    def row(self, name, flops, ours, theirs):
        share = flops / ours / 1e6 / self.peak if self.peak else 0
        best = min((t for t in theirs.values() if t), default=None)
        ratio = best / ours if best else None
        if ratio:
            self.ratios.append(ratio)
        if share:
            self.shares.append(share)
        cells = "".join(f" {theirs.get(p) and format(theirs[p], '.3f') or '-':>14}" for p in self.peers)
        shown = f"{ratio:6.2f}" if ratio else "     -"
        print(f"{name:46} {ours:9.3f} {flops / ours / 1e6:8.1f} {100 * share:6.0f}%{cells} {shown}", flush=True)

    def end(self):
        mean = lambda xs: math.exp(sum(map(math.log, xs)) / len(xs))
        if self.ratios:
            print(f"geometric mean of ratios {mean(self.ratios):.2f}, least {min(self.ratios):.2f}", end="")
        if self.shares:
            print(f"; geometric mean share of the multiply-add peak {100 * mean(self.shares):.0f} %", end="")
        print("\n", flush=True)
