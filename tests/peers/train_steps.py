"""Writes tests/files/torch/steps/NET.safetensors: ten steps of PyTorch's SGD with momentum and of AdamW on each of the networks
that stand beside as NET.cnn, in training mode, from the same weights and on the same batches.

    pip install torch safetensors numpy
    python tests/peers/train_steps.py tests/files/torch/steps

Nothing but results is stored: `OPT/loss` of each step before its update, `OPT/norms` of each weight after each step (in the
order of the names, `running_…` aside), and all tensors after the last step as `OPT/w/NAME`. What the training starts from and
sees is made by a counter: number `i` of the sequence `name` is SplitMix64 of `fnv1a(name) + (i + 1) * 0x9e3779b97f4a7c15`, whose top
24 bits make `u` in -1..1. Images of step `t` are `u` of `NET/image/t`, labels the top 24 bits of `NET/label/t` modulo the classes.
A tensor's start is `u` of `NET/w/NAME`, times `1 / sqrt(elements per first index)` for kernels; `0.1 u` for biases, `1 + 0.1 u` for
the scales of a normalisation; running means are 0, variances 1.

PyTorch computes in 64 bits here, so that what differs is the error of the other side alone.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

STEPS = 10
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=5e-4),
    "adamw": lambda p: torch.optim.AdamW(p, lr=2e-3, weight_decay=0.05),
}


def bits(name, count):
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return z >> np.uint64(40)


def uniform(name, dims):
    count = int(np.prod(dims))
    return (bits(name, count).astype(np.float32) / np.float32(2**23) - np.float32(1)).reshape(dims)


def start(net, name, dims):
    if name.endswith("running_mean"):
        return np.zeros(dims, np.float32)
    if name.endswith("running_var"):
        return np.ones(dims, np.float32)
    u = uniform(f"{net}/w/{name}", dims)
    if name.endswith("bias"):
        return u * np.float32(0.1)
    if len(dims) == 1:
        return np.float32(1) + u * np.float32(0.1)
    return u * np.float32(1 / np.sqrt(np.float64(np.prod(dims[1:]))))


class Weights:
    """Tensors by name; made at their first use."""

    def __init__(self, net):
        self.net, self.all = net, {}

    def __call__(self, name, *dims):
        if name not in self.all:
            tensor = torch.from_numpy(start(self.net, name, dims)).double()
            self.all[name] = tensor.requires_grad_(not name.rsplit(".", 1)[1].startswith("running"))
        return self.all[name]

    def conv(self, x, name, k, size, bias=True, **how):
        b = self(f"{name}.bias", k) if bias else None
        return F.conv2d(x, self(f"{name}.weight", k, x.shape[1], size, size), b, **how)

    def unconv(self, x, name, k, size):
        return F.conv_transpose2d(x, self(f"{name}.weight", x.shape[1], k, size, size), self(f"{name}.bias", k), stride=size)

    def dense(self, x, name, k):
        x = x.flatten(1)
        return F.linear(x, self(f"{name}.weight", k, x.shape[1]), self(f"{name}.bias", k))

    def norm(self, x, name):
        c = x.shape[1]
        mean, var = self(f"{name}.running_mean", c), self(f"{name}.running_var", c)
        return F.batch_norm(x, mean, var, self(f"{name}.weight", c), self(f"{name}.bias", c), training=True)


TABLE = [[(o + i) % 6 for i in range(3)] for o in range(6)] + [[(o + i) % 6 for i in range(4)] for o in range(6)]
TABLE += [[0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5], [0, 1, 2, 3, 4, 5]]


def lenet(w, image):
    x = F.avg_pool2d(torch.tanh(w.conv(image, "c1", 6, 5)), 2)
    links = [(o, i) for o, row in enumerate(TABLE) for i in sorted(row)]
    kernel = torch.zeros(16, 6, 5, 5, dtype=torch.float64)
    outputs, inputs = zip(*links)
    kernel = kernel.index_put((torch.tensor(outputs), torch.tensor(inputs)), w("c3.weight", len(links), 5, 5))
    x = F.avg_pool2d(torch.tanh(F.conv2d(x, kernel, w("c3.bias", 16))), 2)
    x = torch.tanh(w.conv(x, "c5", 12, 5))
    return w.dense(torch.tanh(w.dense(x, "f6", 16)), "out", 10)


def resnet(w, image):
    def block(x, name, k, size, **how):
        return w.norm(w.conv(x, name, k, size, bias=False, **how), f"{name}_norm")

    x = F.relu(block(image, "stem", 6, 3, padding=1))
    y = block(F.relu(block(x, "a1", 6, 3, padding=1)), "a2", 6, 3, padding=1)
    z = F.relu(x + y)
    skip = block(z, "skip", 12, 1, stride=2)
    y = block(F.relu(block(z, "b1", 12, 3, stride=2, padding=1)), "b2", 12, 3, padding=1)
    return w.dense(F.relu(y + skip).mean((2, 3)), "out", 4)


def unet(w, image):
    def block(x, name, k):
        return F.relu(w.norm(w.conv(x, name, k, 3, bias=False, padding=1), f"{name}_norm"))

    d1 = block(block(image, "d1a", 4), "d1b", 4)
    d2 = block(block(F.max_pool2d(d1, 2), "d2a", 8), "d2b", 8)
    bottom = block(F.max_pool2d(d2, 2), "m", 16)
    u2 = block(torch.cat([d2, w.unconv(bottom, "t2", 8, 2)], 1), "u2a", 8)
    u1 = block(torch.cat([d1, w.unconv(u2, "t1", 4, 2)], 1), "u1a", 4)
    return w.conv(u1, "out", 3, 1)


def label(w, image):
    def hidden():
        return w.conv(image, "U", 8, 5, padding=2)

    def labels(x):
        return w.conv(torch.tanh(x), "V", 4, 1)

    y = labels(hidden())
    for _ in range(2):
        y = labels(hidden() + w.conv(y, "W", 8, 5, bias=False, padding=2))
    return y


# Network, extents of a batch, classes, extents of its labels.
NETS = {
    "lenet": (lenet, (8, 1, 32, 32), 10, (8,)),
    "resnet": (resnet, (6, 3, 12, 12), 4, (6,)),
    "unet": (unet, (4, 1, 16, 16), 3, (4, 16, 16)),
    "label": (label, (3, 3, 10, 12), 4, (3, 10, 12)),
}


def run(net, make):
    forward, dims, classes, label_dims = NETS[net]
    w = Weights(net)
    losses, norms, optimizer = [], [], None
    for t in range(STEPS):
        image = torch.from_numpy(uniform(f"{net}/image/{t}", dims)).double()
        truth = bits(f"{net}/label/{t}", int(np.prod(label_dims))) % np.uint64(classes)
        loss = F.cross_entropy(forward(w, image), torch.from_numpy(truth.astype(np.int64)).reshape(label_dims))
        trained = {name: p for name, p in sorted(w.all.items()) if p.requires_grad}
        optimizer = optimizer or make(list(trained.values()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        norms.append([p.norm().item() for p in trained.values()])
    arrays = {"loss": np.array(losses), "norms": np.array(norms)}
    arrays |= {f"w/{name}": p.detach().numpy() for name, p in w.all.items()}
    return {name: a.astype(np.float32) for name, a in arrays.items()}


def main(folder):
    for net in NETS:
        arrays = {}
        for name, make in OPTIMIZERS.items():
            arrays |= {f"{name}/{key}": array for key, array in run(net, make).items()}
        save_file(arrays, f"{folder}/{net}.safetensors")


main(sys.argv[1])
