"""Writes tests/files/torch/optim.safetensors: ten steps of PyTorch's optimizers from one weight and the same gradients.

    pip install torch safetensors
    python tests/peers/torch_optim.py tests/files/torch

The result is committed, so the tests need neither Python nor PyTorch.
"""

import sys

import torch
from safetensors.torch import save_file

STEPS = 10
RUNS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.02, weight_decay=0.01),
    "rmsprop_momentum": lambda p: torch.optim.RMSprop(p, lr=0.02, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, weight_decay=0.01),
}


def main(folder):
    torch.manual_seed(1)
    start, grads = torch.randn(3, 4), torch.randn(STEPS, 3, 4)
    arrays = {"start": start, "grads": grads}
    for name, make in RUNS.items():
        weight = torch.nn.Parameter(start.clone())
        optimizer = make([weight])
        seen = []
        for grad in grads:
            weight.grad = grad.clone()
            optimizer.step()
            seen.append(weight.detach().clone())
        arrays[name] = torch.stack(seen)
    save_file(arrays, f"{folder}/optim.safetensors")


main(sys.argv[1])
