"""Networks in the styles that exporters leave, held against ONNX Runtime: `python tests/peers/onnx_zoo.py DIR target/release/cnnc [NAME...]`.

Needs numpy, onnx, onnxruntime, torch, onnxscript. Self-written networks in the manner of the well-known ones are exported by PyTorch
(both exporters, several operator sets, free dimensions); graphs as converters from TensorFlow, Keras and Paddle write them are built node by
node. Each is run by cnnc, written as a program (`cnnc import`) where it has that form, and that is run again; outputs agree to
rtol 1e-3 and atol 1e-4. `python tests/peers/onnx_zoo.py --fixtures` writes the few small ones that tests/it/onnx_models.rs always runs.
"""

import logging
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from onnx_models import given, seeded, session

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


def cba(i, o, k=3, s=1, g=1, act=nn.ReLU6, d=1):
    return nn.Sequential(
        nn.Conv2d(i, o, k, s, d * (k - 1) // 2 if isinstance(k, int) else tuple((x - 1) // 2 for x in k), dilation=d, groups=g, bias=False),
        nn.BatchNorm2d(o),
        act(),
    )


class IR(nn.Module):
    def __init__(s, i, o, st, t, k=3, se=False, act=nn.ReLU6):
        super().__init__()
        h = i * t
        L = []
        if t != 1:
            L.append(cba(i, h, 1, act=act))
        L.append(cba(h, h, k, st, h, act=act))
        if se:
            L.append(SE(h))
        L += [nn.Conv2d(h, o, 1, bias=False), nn.BatchNorm2d(o)]
        s.conv = nn.Sequential(*L)
        s.res = st == 1 and i == o

    def forward(s, x):
        return x + s.conv(x) if s.res else s.conv(x)


class SE(nn.Module):
    def __init__(s, c, r=4, act=nn.ReLU, gate=nn.Hardsigmoid):
        super().__init__()
        s.pool = nn.AdaptiveAvgPool2d(1)
        s.fc1 = nn.Conv2d(c, max(4, c // r), 1)
        s.fc2 = nn.Conv2d(max(4, c // r), c, 1)
        s.a = act()
        s.g = gate()

    def forward(s, x):
        return s.g(s.fc2(s.a(s.fc1(s.pool(x))))) * x


class MBV2(nn.Module):
    def __init__(s):
        super().__init__()
        s.features = nn.Sequential(
            cba(3, 16, 3, 2), IR(16, 8, 1, 1), IR(8, 12, 2, 6), IR(12, 12, 1, 6), IR(12, 16, 2, 6), IR(16, 16, 1, 6), cba(16, 64, 1)
        )
        s.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, 10))

    def forward(s, x):
        return s.classifier(s.features(x).mean([2, 3]))


class MBV3(nn.Module):
    def __init__(s):
        super().__init__()
        H = nn.Hardswish
        s.features = nn.Sequential(
            cba(3, 16, 3, 2, act=H),
            IR(16, 16, 2, 1, 3, True, nn.ReLU),
            IR(16, 24, 2, 4, 3, False, nn.ReLU),
            IR(24, 24, 1, 3, 3, False, nn.ReLU),
            IR(24, 40, 2, 4, 5, True, H),
            IR(40, 40, 1, 6, 5, True, H),
            cba(40, 96, 1, act=H),
        )
        s.pool = nn.AdaptiveAvgPool2d(1)
        s.classifier = nn.Sequential(nn.Linear(96, 64), H(), nn.Dropout(0.2), nn.Linear(64, 10))

    def forward(s, x):
        return s.classifier(torch.flatten(s.pool(s.features(x)), 1))


class Eff(nn.Module):
    def __init__(s):
        super().__init__()
        A = nn.SiLU

        class SEs(SE):
            def __init__(q, c):
                super().__init__(c, 4, nn.SiLU, nn.Sigmoid)

        class MB(nn.Module):
            def __init__(q, i, o, st, t, k):
                super().__init__()
                h = i * t
                q.b = nn.Sequential(
                    *([cba(i, h, 1, act=A)] if t > 1 else []),
                    cba(h, h, k, st, h, act=A),
                    SEs(h),
                    nn.Sequential(nn.Conv2d(h, o, 1, bias=False), nn.BatchNorm2d(o)),
                )
                q.r = st == 1 and i == o

            def forward(q, x):
                y = q.b(x)
                return y + x if q.r else y

        s.f = nn.Sequential(
            cba(3, 16, 3, 2, act=A),
            MB(16, 8, 1, 1, 3),
            MB(8, 12, 2, 6, 3),
            MB(12, 12, 1, 6, 3),
            MB(12, 20, 2, 6, 5),
            MB(20, 20, 1, 6, 5),
            cba(20, 64, 1, act=A),
        )
        s.p = nn.AdaptiveAvgPool2d(1)
        s.c = nn.Linear(64, 10)

    def forward(s, x):
        return s.c(s.p(s.f(x)).flatten(1))


class Basic(nn.Module):
    def __init__(s, i, o, st):
        super().__init__()
        s.conv1 = nn.Conv2d(i, o, 3, st, 1, bias=False)
        s.bn1 = nn.BatchNorm2d(o)
        s.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        s.bn2 = nn.BatchNorm2d(o)
        s.downsample = nn.Sequential(nn.Conv2d(i, o, 1, st, bias=False), nn.BatchNorm2d(o)) if st != 1 or i != o else None

    def forward(s, x):
        y = s.bn2(s.conv2(F.relu(s.bn1(s.conv1(x)))))
        return F.relu(y + (x if s.downsample is None else s.downsample(x)))


class ResNet(nn.Module):
    def __init__(s):
        super().__init__()
        s.stem = nn.Sequential(nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        s.layer1 = nn.Sequential(Basic(16, 16, 1), Basic(16, 16, 1))
        s.layer2 = nn.Sequential(Basic(16, 32, 2), Basic(32, 32, 1))
        s.layer3 = nn.Sequential(Basic(32, 64, 2), Basic(64, 64, 1))
        s.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        s.fc = nn.Linear(64, 10)

    def forward(s, x):
        return s.fc(torch.flatten(s.avgpool(s.layer3(s.layer2(s.layer1(s.stem(x))))), 1))


def shuffle(x, g):
    n, c, h, w = x.size()
    return torch.transpose(x.view(n, g, c // g, h, w), 1, 2).contiguous().view(n, -1, h, w)


class SU(nn.Module):
    def __init__(s, i, o, st):
        super().__init__()
        b = o // 2
        s.st = st
        if st > 1:
            s.b1 = nn.Sequential(
                nn.Conv2d(i, i, 3, st, 1, groups=i, bias=False),
                nn.BatchNorm2d(i),
                nn.Conv2d(i, b, 1, bias=False),
                nn.BatchNorm2d(b),
                nn.ReLU(),
            )
        s.b2 = nn.Sequential(
            nn.Conv2d(i if st > 1 else b, b, 1, bias=False),
            nn.BatchNorm2d(b),
            nn.ReLU(),
            nn.Conv2d(b, b, 3, st, 1, groups=b, bias=False),
            nn.BatchNorm2d(b),
            nn.Conv2d(b, b, 1, bias=False),
            nn.BatchNorm2d(b),
            nn.ReLU(),
        )

    def forward(s, x):
        if s.st == 1:
            a, b = x.chunk(2, 1)
            y = torch.cat((a, s.b2(b)), 1)
        else:
            y = torch.cat((s.b1(x), s.b2(x)), 1)
        return shuffle(y, 2)


class ShuffleV2(nn.Module):
    def __init__(s):
        super().__init__()
        s.f = nn.Sequential(
            cba(3, 12, 3, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1), SU(12, 24, 2), SU(24, 24, 1), SU(24, 24, 1), SU(24, 48, 2), SU(48, 48, 1)
        )
        s.fc = nn.Linear(48, 7)

    def forward(s, x):
        return s.fc(s.f(x).mean([2, 3]))


class Dense(nn.Module):
    def __init__(s):
        super().__init__()
        s.stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        c = 16
        s.blocks = nn.ModuleList()
        s.tr = nn.ModuleList()
        for n in (3, 4):
            b = nn.ModuleList()
            for _ in range(n):
                b.append(
                    nn.Sequential(
                        nn.BatchNorm2d(c),
                        nn.ReLU(),
                        nn.Conv2d(c, 16, 1, bias=False),
                        nn.BatchNorm2d(16),
                        nn.ReLU(),
                        nn.Conv2d(16, 8, 3, 1, 1, bias=False),
                    )
                )
                c += 8
            s.blocks.append(b)
            s.tr.append(nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, c // 2, 1, bias=False), nn.AvgPool2d(2, 2)))
            c //= 2
        s.n = nn.BatchNorm2d(c)
        s.fc = nn.Linear(c, 9)

    def forward(s, x):
        x = s.stem(x)
        for b, t in zip(s.blocks, s.tr):
            fs = [x]
            for l in b:
                fs.append(l(torch.cat(fs, 1)))
            x = t(torch.cat(fs, 1))
        return s.fc(F.adaptive_avg_pool2d(F.relu(s.n(x)), (1, 1)).flatten(1))


class Incep(nn.Module):
    def __init__(s):
        super().__init__()
        A = nn.ReLU

        class M(nn.Module):
            def __init__(q, i, a, b, c):
                super().__init__()
                q.b1 = cba(i, a, 1, act=A)
                q.b7 = nn.Sequential(cba(i, b, 1, act=A), cba(b, b, (1, 7), act=A), cba(b, c, (7, 1), act=A))
                q.bd = nn.Sequential(cba(i, b, 1, act=A), cba(b, c, 3, act=A), cba(c, c, 3, act=A))
                q.bp = cba(i, a, 1, act=A)

            def forward(q, x):
                return torch.cat([q.b1(x), q.b7(x), q.bd(x), q.bp(F.avg_pool2d(x, 3, 1, 1))], 1)

        s.stem = nn.Sequential(cba(3, 16, 3, 2, act=A), nn.MaxPool2d(3, 2, ceil_mode=True))
        s.m1 = M(16, 8, 8, 12)
        s.m2 = M(40, 8, 12, 16)
        s.m3 = M(48, 12, 12, 16)
        s.lrn = nn.LocalResponseNorm(5)
        s.fc = nn.Linear(56, 5)

    def forward(s, x):
        x = torch.cat([(x[:, 0:1] * 0.458 + (-0.03)), (x[:, 1:2] * 0.448 - 0.088), (x[:, 2:3] * 0.45 - 0.188)], 1)
        return s.fc(s.m3(s.lrn(s.m2(s.m1(s.stem(x))))).mean((2, 3)))


class UNet(nn.Module):
    def __init__(s, mode="bilinear", ac=True):
        super().__init__()
        s.m = mode
        s.ac = ac
        D = lambda i, o: nn.Sequential(
            nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU()
        )
        s.d1 = D(3, 8)
        s.d2 = D(8, 16)
        s.d3 = D(16, 32)
        s.u2 = D(48, 16)
        s.u1 = D(24, 8)
        s.o = nn.Conv2d(8, 2, 1)
        s.t = nn.ConvTranspose2d(32, 32, 2, 2)

    def up(s, x, like):
        if s.m == "transpose":
            x = s.t(x) if x.shape[1] == 32 else F.interpolate(x, scale_factor=2, mode="nearest")
        elif s.m == "nearest":
            x = F.interpolate(x, scale_factor=2)
        elif s.m == "bicubic":
            x = F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)
        elif s.m == "size":
            x = F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)
        else:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=s.ac)
        dy, dx = like.shape[2] - x.shape[2], like.shape[3] - x.shape[3]
        return F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])

    def forward(s, x):
        a = s.d1(x)
        b = s.d2(F.max_pool2d(a, 2))
        c = s.d3(F.max_pool2d(b, 2))
        y = s.u2(torch.cat([b, s.up(c, b)], 1))
        y = s.u1(torch.cat([a, s.up(y, a)], 1))
        return s.o(y)


class Detector(nn.Module):
    def __init__(s):
        super().__init__()
        A = nn.SiLU
        s.c3 = nn.Sequential(cba(3, 8, 3, 2, act=A), cba(8, 16, 3, 2, act=A))
        s.c4 = cba(16, 24, 3, 2, act=A)
        s.c5 = cba(24, 32, 3, 2, act=A)
        s.l = nn.ModuleList([nn.Conv2d(c, 16, 1) for c in (16, 24, 32)])
        s.o = nn.ModuleList([nn.Conv2d(16, 16, 3, padding=1) for _ in range(3)])
        s.cls = nn.Conv2d(16, 3 * 4, 3, padding=1)
        s.box = nn.Conv2d(16, 3 * 4, 3, padding=1)
        s.spp = [5, 9]

    def forward(s, x):
        c3 = s.c3(x)
        c4 = s.c4(c3)
        c5 = s.c5(c4)
        c5 = c5 + sum(F.max_pool2d(c5, k, 1, k // 2) for k in s.spp)
        p5 = s.l[2](c5)
        p4 = s.l[1](c4) + F.interpolate(p5, size=c4.shape[-2:], mode="nearest")
        p3 = s.l[0](c3) + F.interpolate(p4, size=c3.shape[-2:], mode="nearest")
        C, B = [], []
        for p, o in zip((p3, p4, p5), s.o):
            p = o(p)
            n, _, h, w = p.shape
            C.append(s.cls(p).view(n, 3, 4, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, 4))
            b = s.box(p).view(n, 3, 4, h, w).permute(0, 1, 3, 4, 2)
            gy, gx = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            g = torch.stack((gx, gy), 2).view(1, 1, h, w, 2).float()
            xy = (b[..., :2].sigmoid() * 2 - 0.5 + g) * 8
            wh = (b[..., 2:4].sigmoid() * 2) ** 2 * torch.tensor([10.0, 13.0])
            B.append(torch.cat((xy, wh), -1).view(n, -1, 4))
        return torch.cat(C, 1).softmax(-1), torch.cat(B, 1)


class CRNN(nn.Module):
    def __init__(s):
        super().__init__()
        s.f = nn.Sequential(
            nn.Conv2d(1, 8, 3, 1, 1),
            nn.ReLU(),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 16, 3, 1, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d((2, 2), (2, 1), (0, 1)),
            nn.Conv2d(16, 24, (8, 2)),
            nn.ReLU(),
        )
        s.fc = nn.Linear(24, 11)

    def forward(s, x):
        y = s.f(x).squeeze(2).permute(2, 0, 1)
        return F.log_softmax(s.fc(y), 2)


class Audio(nn.Module):
    def __init__(s):
        super().__init__()
        s.a = nn.Conv1d(1, 16, 80, 4, 38)
        s.b1 = nn.BatchNorm1d(16)
        s.b = nn.Conv1d(16, 16, 3, padding=2, dilation=2)
        s.g = nn.Conv1d(16, 32, 3, padding=1, groups=4)
        s.n = nn.GroupNorm(4, 32)
        s.p = nn.PReLU()
        s.up = nn.ConvTranspose1d(32, 8, 8, 4, 2)
        s.fc = nn.Linear(8, 4)

    def forward(s, x):
        y = F.max_pool1d(F.relu(s.b1(s.a(x))), 4)
        y = torch.tanh(s.b(y)) * torch.sigmoid(s.b(y))
        y = s.p(s.n(s.g(y)))
        y = F.elu(s.up(y))
        return s.fc(F.adaptive_avg_pool1d(y, 1).squeeze(-1))


class Vol(nn.Module):
    def __init__(s):
        super().__init__()
        s.a = nn.Conv3d(1, 8, 3, padding=1)
        s.b = nn.BatchNorm3d(8)
        s.c = nn.Conv3d(8, 12, 3, (1, 2, 2), 1)
        s.i = nn.InstanceNorm3d(12, affine=True)
        s.u = nn.ConvTranspose3d(12, 4, 2, 2)
        s.fc = nn.Linear(4, 3)

    def forward(s, x):
        y = F.max_pool3d(F.leaky_relu(s.b(s.a(x)), 0.1), 2)
        y = s.i(s.c(y))
        y = F.interpolate(s.u(y), scale_factor=2, mode="trilinear")
        return s.fc(F.adaptive_avg_pool3d(y, 1).flatten(1)), y


class Decoder(nn.Module):
    def __init__(s):
        super().__init__()
        s.l = nn.Linear(20, 64 * 4)
        s.n = nn.Sequential(
            nn.BatchNorm2d(64),
            nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 3, 2, 1, output_padding=1),
            nn.InstanceNorm2d(16),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 16, 4, 2, 1, groups=4),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.ReflectionPad2d(3),
            nn.Conv2d(16, 3, 7),
            nn.Tanh(),
        )

    def forward(s, x):
        return s.n(s.l(x).view(-1, 64, 2, 2))


class ConvNeXt(nn.Module):
    def __init__(s):
        super().__init__()

        class LN2(nn.LayerNorm):
            def forward(q, x):
                return F.layer_norm(x.permute(0, 2, 3, 1), q.normalized_shape, q.weight, q.bias, q.eps).permute(0, 3, 1, 2)

        class B(nn.Module):
            def __init__(q, d):
                super().__init__()
                q.dw = nn.Conv2d(d, d, 7, padding=3, groups=d)
                q.n = nn.LayerNorm(d, eps=1e-6)
                q.a = nn.Linear(d, 4 * d)
                q.b = nn.Linear(4 * d, d)
                q.g = nn.Parameter(torch.rand(d))

            def forward(q, x):
                y = q.dw(x).permute(0, 2, 3, 1)
                y = q.g * q.b(F.gelu(q.a(q.n(y))))
                return x + y.permute(0, 3, 1, 2)

        s.f = nn.Sequential(nn.Conv2d(3, 16, 4, 4), LN2(16), B(16), B(16), LN2(16), nn.Conv2d(16, 24, 2, 2), B(24), B(24))
        s.n = nn.LayerNorm(24)
        s.h = nn.Linear(24, 6)

    def forward(s, x):
        return s.h(s.n(s.f(x).mean([-2, -1])))


class ASPP(nn.Module):
    def __init__(s):
        super().__init__()
        s.b = nn.Sequential(cba(3, 12, 3, 2), cba(12, 16, 3, 2))
        s.a = nn.ModuleList([cba(16, 8, 1)] + [cba(16, 8, 3, d=d) for d in (2, 3)])
        s.p = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 8, 1))
        s.o = nn.Conv2d(32, 5, 1)

    def forward(s, x):
        y = s.b(x)
        q = F.interpolate(s.p(y), size=y.shape[-2:], mode="bilinear", align_corners=False)
        y = s.o(torch.cat([a(y) for a in s.a] + [q], 1))
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


class Misc(nn.Module):
    "pixel shuffle, einsum-free attention gates, std/var norms, where, clamp, roll, adaptive pools, GLU, topless"

    def __init__(s):
        super().__init__()
        s.a = nn.Conv2d(3, 16, 3, padding=1)
        s.ps = nn.PixelShuffle(2)
        s.b = nn.Conv2d(4, 16, 3, padding=1, padding_mode="circular")
        s.eca = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        s.sa = nn.Conv2d(2, 1, 7, padding=3)

    def forward(s, x):
        y = s.ps(s.a(x))
        y = s.b(F.pixel_unshuffle(y, 1))
        y = F.glu(y, 1)
        y = y * torch.sigmoid(s.eca(F.adaptive_avg_pool2d(y, 1).squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1))
        y = y * torch.sigmoid(s.sa(torch.cat([y.mean(1, keepdim=True), y.max(1, keepdim=True)[0]], 1)))
        m = y.mean((2, 3), keepdim=True)
        v = y.var((2, 3), keepdim=True, unbiased=False)
        y = (y - m) / torch.sqrt(v + 1e-5)
        y = torch.where(y > 0, y, y * 0.1).clamp(-3, 3)
        y = torch.roll(y, shifts=(1, 2), dims=(2, 3))
        y = F.adaptive_avg_pool2d(y, (2, 4))
        z = F.adaptive_max_pool2d(y, (1, 2))
        return (
            F.normalize(y.flatten(1), dim=1),
            z,
            F.mish(y),
            F.hardtanh(y),
            F.softplus(y),
            torch.logsumexp(y, 1),
            y.norm(dim=1),
            F.logsigmoid(y),
            F.softsign(y),
            F.celu(y),
            y.std((2, 3)),
        )


class Swin(nn.Module):
    "windows partition"

    def __init__(s):
        super().__init__()
        s.p = nn.Conv2d(3, 16, 4, 4)
        s.qkv = nn.Linear(16, 48)
        s.o = nn.Linear(16, 16)
        s.n = nn.LayerNorm(16)

    def forward(s, x):
        x = s.p(x).permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        y = s.n(x).view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        q, k, v = s.qkv(y).reshape(-1, 4, 3, 2, 8).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, 4, c)
        y = s.o(a).view(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return (x + y).permute(0, 3, 1, 2).mean((2, 3))


class GRNN(nn.Module):
    "global response norm, silu, 1d from 2d, bmm gram"

    def __init__(s):
        super().__init__()
        s.c = nn.Conv2d(3, 12, 3, padding=1)
        s.g = nn.Parameter(torch.rand(12, 1, 1))
        s.b = nn.Parameter(torch.rand(1, 12, 1, 1))

    def forward(s, x):
        y = s.c(x)
        gx = y.norm(p=2, dim=(2, 3), keepdim=True)
        nx = gx / (gx.mean(1, keepdim=True) + 1e-6)
        y = s.g * (y * nx) + s.b + y
        n, c, h, w = y.shape
        f = y.view(n, c, h * w)
        return torch.bmm(f, f.transpose(1, 2)) / (c * h * w), y.amax((2, 3)), y.argmax(1)


class Residual(nn.Module):
    "basic blocks, small enough to be a test's file"

    def __init__(s):
        super().__init__()
        s.stem = cba(3, 4, 3, 1, act=nn.ReLU)
        s.layer1 = nn.Sequential(Basic(4, 4, 1), Basic(4, 4, 1), Basic(4, 4, 1))
        s.layer2 = nn.Sequential(Basic(4, 6, 2), Basic(6, 6, 1), Basic(6, 6, 1))
        s.layer3 = nn.Sequential(Basic(6, 8, 2), Basic(8, 8, 1))
        s.fc = nn.Linear(8, 5)

    def forward(s, x):
        return s.fc(s.layer3(s.layer2(s.layer1(s.stem(x)))).mean([2, 3]))


class Inverted(nn.Module):
    "inverted residuals with squeeze-excite, small enough to be a test's file"

    def __init__(s):
        super().__init__()
        H = nn.Hardswish
        s.f = nn.Sequential(
            cba(3, 4, 3, 2, act=H),
            IR(4, 4, 1, 2, 3, True, H),
            IR(4, 6, 2, 2, 3, True, H),
            IR(6, 6, 1, 2, 5, True, H),
            IR(6, 8, 2, 2, 5, True, H),
        )
        s.fc = nn.Linear(8, 5)

    def forward(s, x):
        return s.fc(F.adaptive_avg_pool2d(s.f(x), 1).flatten(1))


NETS = {
    "residual": (Residual, (2, 3, 16, 16)),
    "inverted": (Inverted, (2, 3, 24, 24)),
    "mbv2": (MBV2, (1, 3, 64, 64)),
    "mbv3": (MBV3, (1, 3, 64, 64)),
    "eff": (Eff, (1, 3, 64, 64)),
    "resnet": (ResNet, (1, 3, 64, 64)),
    "shufflev2": (ShuffleV2, (1, 3, 64, 64)),
    "dense": (Dense, (1, 3, 32, 32)),
    "incep": (Incep, (1, 3, 48, 48)),
    "unet": (UNet, (1, 3, 32, 32)),
    "unet_odd": (UNet, (1, 3, 37, 45)),
    "unet_near": (lambda: UNet("nearest"), (1, 3, 32, 32)),
    "unet_cubic": (lambda: UNet("bicubic"), (1, 3, 32, 32)),
    "unet_size": (lambda: UNet("size"), (1, 3, 33, 32)),
    "unet_half": (lambda: UNet("b", False), (1, 3, 32, 32)),
    "unet_t": (lambda: UNet("transpose"), (1, 3, 32, 32)),
    "det": (Detector, (1, 3, 64, 64)),
    "crnn": (CRNN, (1, 1, 32, 64)),
    "audio": (Audio, (1, 1, 1600)),
    "vol": (Vol, (1, 1, 8, 16, 16)),
    "decoder": (Decoder, (2, 20)),
    "convnext": (ConvNeXt, (1, 3, 32, 32)),
    "aspp": (ASPP, (1, 3, 64, 48)),
    "misc": (Misc, (1, 3, 16, 16)),
    "swin": (Swin, (2, 3, 32, 32)),
    "grn": (GRNN, (2, 3, 12, 14)),
}
DYN = {"residual", "mbv2", "resnet", "unet_odd", "unet_size", "det", "crnn", "audio", "aspp", "shufflev2", "incep"}


def prep(net):
    net.eval()
    for m in net.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            m.running_mean.uniform_(-0.5, 0.5)
            m.running_var.uniform_(0.5, 1.5)
            m.weight.data.uniform_(0.5, 1.5)
            m.bias.data.uniform_(-0.3, 0.3)
    return net


MADE = {}
rng = np.random.default_rng(0)


class G:
    def __init__(s, opset=13):
        s.n = []
        s.i = []
        s.k = 0
        s.opset = opset

    def w(s, a, name=None):
        name = name or f"const_{len(s.i)}"
        s.i.append(nh.from_array(np.asarray(a), name))
        return name

    def op(s, t, *x, n=1, **a):
        s.k += 1
        o = [f"{t}__{s.k}:{j}" for j in range(n)]
        s.n.append(h.make_node(t, list(x), o, name=f"{t}__{s.k}", **a))
        return o[0] if n == 1 else o

    def i64(s, *v):
        return s.w(np.array(v, np.int64))

    def T(s, x, p):
        return s.op("Transpose", x, perm=p)

    def conv(s, x, i, o, k=3, st=1, pad="SAME_UPPER", g=1, bias=True):
        W = s.w((rng.standard_normal((o, i // g, k, k)) / np.sqrt(i // g * k * k)).astype(np.float32), f"conv{s.k}/kernel:0")
        y = s.T(x, [0, 3, 1, 2])
        ins = [y, W] + ([s.w(rng.standard_normal(o).astype(np.float32) * 0.1, f"conv{s.k}/bias:0")] if bias else [])
        y = s.op("Conv", *ins, strides=[st, st], kernel_shape=[k, k], auto_pad=pad, group=g)
        return s.T(y, [0, 2, 3, 1])

    def bn(s, x, c):
        y = s.T(x, [0, 3, 1, 2])
        v = [s.w(rng.uniform(0.5, 1.5, c).astype(np.float32), f"bn{s.k}/{q}") for q in ("gamma", "beta", "mean", "variance")]
        return s.T(s.op("BatchNormalization", y, *v, epsilon=1e-3), [0, 2, 3, 1])

    def save(s, name, inp, shape, outs, decl=None):
        g = h.make_graph(
            s.n,
            name,
            [h.make_tensor_value_info(inp, T.FLOAT, decl or shape)],
            [h.make_tensor_value_info(o, T.FLOAT, None) for o in outs],
            s.i,
        )
        m = h.make_model(g, opset_imports=[h.make_opsetid("", s.opset)], ir_version=8)
        MADE[name] = (m, shape)


def relu6(g, x):
    return g.op("Clip", x, g.w(np.float32(0)), g.w(np.float32(6)))


def kmobile():
    "keras MobileNet: Pad+Conv valid, depthwise as Reshape'd kernel, GlobalAveragePool via ReduceMean, Dense MatMul+Add, Softmax"
    g = G()
    x = "input_1:0"
    y = g.op("Pad", x, g.i64(0, 0, 0, 0, 0, 1, 1, 0))
    y = g.conv(y, 3, 8, 3, 2, "VALID", bias=False)
    y = relu6(g, g.bn(y, 8))
    for i, o, st in ((8, 16, 1), (16, 24, 2), (24, 24, 1)):
        if st == 2:
            y = g.op("Pad", y, g.i64(0, 0, 0, 0, 0, 1, 1, 0))
        k = g.w(rng.standard_normal((3, 3, i, 1)).astype(np.float32) * 0.3, f"dw{i}_{st}_{o}/depthwise_kernel:0")
        k = g.op("Reshape", g.T(k, [2, 3, 0, 1]), g.i64(i, 1, 3, 3))
        z = g.T(y, [0, 3, 1, 2])
        z = g.op("Conv", z, k, strides=[st, st], kernel_shape=[3, 3], auto_pad="VALID" if st == 2 else "SAME_UPPER", group=i)
        y = g.T(z, [0, 2, 3, 1])
        y = relu6(g, g.bn(y, i))
        y = relu6(g, g.bn(g.conv(y, i, o, 1, bias=False), o))
    y = g.op("ReduceMean", y, axes=[1, 2], keepdims=0)
    y = g.op(
        "Add",
        g.op("MatMul", y, g.w(rng.standard_normal((24, 10)).astype(np.float32) * 0.2, "dense/kernel:0")),
        g.w(rng.standard_normal(10).astype(np.float32), "dense/bias:0"),
    )
    y = g.op("Softmax", y, axis=-1)
    g.save("kmobile", x, [1, 33, 33, 3], [y], ["unk__0", 33, 33, 3])


def tfreshape():
    "shape -> StridedSlice -> Pack -> Reshape, flatten, with int32 casts as tf2onnx"
    g = G(11)
    x = "images:0"
    y = g.op("Relu", g.conv(x, 3, 8, 3, 2))
    y = g.T(g.op("MaxPool", g.T(y, [0, 3, 1, 2]), kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"), [0, 2, 3, 1])
    sh = g.op("Cast", g.op("Shape", y), to=T.INT32)
    b = g.op("Slice", sh, g.w(np.array([0], np.int32)), g.w(np.array([1], np.int32)), g.w(np.array([0], np.int32)))
    b = g.op("Squeeze", b, axes=[0])
    pk = g.op("Concat", g.op("Unsqueeze", b, axes=[0]), g.w(np.array([4 * 5 * 8], np.int32)), axis=0)
    y = g.op("Reshape", y, g.op("Cast", pk, to=T.INT64))
    y = g.op("Gemm", y, g.w(rng.standard_normal((160, 6)).astype(np.float32) * 0.1, "fc/kernel"), g.w(np.zeros(6, np.float32), "fc/bias"))
    g.save("tfreshape", x, [2, 16, 20, 3], [y], [None, 16, 20, 3])


def tfunet():
    "unet channels last with resize sizes from shape arithmetic and concat in NHWC"
    g = G()
    x = "x:0"
    a = g.op("Relu", g.conv(x, 3, 8))
    b = g.op("Relu", g.conv(g.T(g.op("MaxPool", g.T(a, [0, 3, 1, 2]), kernel_shape=[2, 2], strides=[2, 2]), [0, 2, 3, 1]), 8, 16))

    def upto(g, b, a, mode, ct):
        s = g.op("Slice", g.op("Shape", a), g.i64(1), g.i64(3), g.i64(0))
        nchw = g.T(b, [0, 3, 1, 2])
        s0 = g.op("Slice", g.op("Shape", nchw), g.i64(0), g.i64(2), g.i64(0))
        sz = g.op("Concat", s0, s, axis=0)
        return g.T(
            g.op(
                "Resize",
                nchw,
                "",
                "",
                sz,
                mode=mode,
                coordinate_transformation_mode=ct,
                **({"nearest_mode": "floor"} if mode == "nearest" else {}),
            ),
            [0, 2, 3, 1],
        )

    u = upto(g, b, a, "nearest", "asymmetric")
    y = g.op("Concat", u, a, axis=3)
    y = g.op("Relu", g.conv(y, 24, 8))
    v = upto(g, b, a, "linear", "half_pixel")
    y = g.op("Add", y, g.conv(v, 16, 8, 1))
    y = g.op("Sigmoid", g.conv(y, 8, 1, 1))
    g.save("tfunet", x, [1, 15, 22, 3], [y])


def kmbv3():
    "SE + hard swish keras MobileNetV3: mul/add/relu6 forms, reshape(1,1,c), mean keepdims"
    g = G()
    x = "in"
    y = g.bn(g.conv(x, 3, 16, 3, 2, bias=False), 16)

    def hs(g, y):
        return g.op("Mul", y, g.op("Mul", relu6(g, g.op("Add", y, g.w(np.float32(3)))), g.w(np.float32(1 / 6))))

    y = hs(g, y)
    s = g.op("ReduceMean", y, axes=[1, 2], keepdims=1)
    s = g.op("Relu", g.conv(s, 16, 8, 1))
    s = g.conv(s, 8, 16, 1)
    s = g.op("Mul", relu6(g, g.op("Add", s, g.w(np.float32(3)))), g.w(np.float32(1 / 6)))
    y = g.op("Mul", y, s)
    y = hs(g, g.bn(g.conv(y, 16, 24, 5, 2, bias=False), 24))
    y = g.op("GlobalAveragePool", g.T(y, [0, 3, 1, 2]))
    y = g.op("Squeeze", y, g.i64(2, 3))
    y = g.op("Reshape", y, g.i64(-1, 1, 1, 24))
    y = g.conv(y, 24, 7, 1)
    y = g.op("Reshape", y, g.i64(-1, 7))
    y = g.op("LogSoftmax", y, axis=1)
    g.save("kmbv3", x, [1, 32, 32, 3], [y], ["N", 32, 32, 3])


def tfgan():
    "conv transpose with output_shape, SAME pads, depth to space NHWC, space to batch style reshape"
    g = G()
    x = "z"
    y = g.op(
        "Add",
        g.op("MatMul", x, g.w(rng.standard_normal((8, 4 * 4 * 6)).astype(np.float32) * 0.2)),
        g.w(rng.standard_normal(96).astype(np.float32)),
    )
    y = g.op("LeakyRelu", y, alpha=0.2)
    y = g.op("Reshape", y, g.i64(-1, 4, 4, 6))
    W = g.w(rng.standard_normal((6, 5, 5, 5)).astype(np.float32) * 0.1)
    z = g.op("ConvTranspose", g.T(y, [0, 3, 1, 2]), W, strides=[2, 2], kernel_shape=[5, 5], auto_pad="SAME_UPPER", output_shape=[8, 8])
    y = g.T(z, [0, 2, 3, 1])
    y = g.op("Tanh", y)
    y = g.conv(y, 5, 12, 3)
    y = g.T(g.op("DepthToSpace", g.T(y, [0, 3, 1, 2]), blocksize=2, mode="DCR"), [0, 2, 3, 1])
    g.save("tfgan", x, [3, 8], [y], ["b", 8])


def kwave():
    "1-D via Unsqueeze -> Conv2D -> Squeeze (keras Conv1D)"
    g = G()
    x = "wave"
    y = g.op("Unsqueeze", x, g.i64(1))
    y = g.T(y, [0, 3, 1, 2])
    y = g.op(
        "Conv",
        y,
        g.w(rng.standard_normal((12, 2, 1, 9)).astype(np.float32) * 0.2, "c1/kernel"),
        kernel_shape=[1, 9],
        strides=[1, 4],
        auto_pad="SAME_UPPER",
    )
    y = g.op("Squeeze", g.T(y, [0, 2, 3, 1]), g.i64(1))
    y = g.op("Add", y, g.w(rng.standard_normal(12).astype(np.float32), "c1/bias"))
    y = g.op("Relu", y)
    y = g.op("Unsqueeze", y, g.i64(1))
    y = g.T(g.op("AveragePool", g.T(y, [0, 3, 1, 2]), kernel_shape=[1, 2], strides=[1, 2], auto_pad="SAME_UPPER"), [0, 2, 3, 1])
    y = g.op("Squeeze", y, g.i64(1))
    q = g.op("ReduceMax", y, axes=[1], keepdims=0)
    y = g.op("MatMul", y, g.w(rng.standard_normal((12, 5)).astype(np.float32)))
    g.save("kwave", x, [2, 50, 2], [y, q])


def paddle():
    "paddle style: Constant weights, Pool2D, elementwise with reshape'd bias, nearest interp with scales, Shape/Cast/Slice, flatten_contiguous"
    g = G(11)
    x = "x0"

    def pconv(g, y, i, o, k, st, grp=1):
        y = g.op(
            "Conv",
            y,
            g.w((rng.standard_normal((o, i // grp, k, k)) / np.sqrt(i // grp * k * k)).astype(np.float32), f"conv2d_{g.k}.w_0"),
            dilations=[1, 1],
            group=grp,
            kernel_shape=[k, k],
            pads=[k // 2] * 4,
            strides=[st, st],
        )
        v = [g.w(rng.uniform(0.5, 1.5, o).astype(np.float32), f"batch_norm_{g.k}.{q}") for q in ("w_0", "b_0", "w_1", "w_2")]
        return g.op("BatchNormalization", y, *v, epsilon=1e-5, momentum=0.9)

    y = g.op("HardSwish" if False else "Relu", pconv(g, x, 3, 8, 3, 2))
    r = y
    y = g.op("Relu", pconv(g, y, 8, 8, 3, 1, 8))
    y = pconv(g, y, 8, 16, 1, 2)
    p = g.op("GlobalAveragePool", y)
    p = g.op("Conv", p, g.w(rng.standard_normal((4, 16, 1, 1)).astype(np.float32) * 0.3, "se1.w_0"), kernel_shape=[1, 1])
    p = g.op("Relu", g.op("Add", p, g.op("Reshape", g.w(rng.standard_normal(4).astype(np.float32), "se1.b_0"), g.i64(1, -1, 1, 1))))
    p = g.op("Conv", p, g.w(rng.standard_normal((16, 4, 1, 1)).astype(np.float32) * 0.3, "se2.w_0"), kernel_shape=[1, 1])
    p = g.op("HardSigmoid", p, alpha=0.2, beta=0.5)
    y = g.op("Mul", y, p)
    u = g.op(
        "Resize",
        y,
        g.w(np.zeros(0, np.float32)),
        g.w(np.array([1, 1, 2, 2], np.float32)),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    y = g.op("Concat", u, r, axis=1)
    sh = g.op("Shape", y)
    n = g.op("Slice", sh, g.i64(0), g.i64(1))
    y2 = g.op("Reshape", y, g.op("Concat", n, g.i64(-1), axis=0))
    y3 = g.op("Softmax", g.op("Transpose", g.op("Reshape", y, g.op("Concat", n, g.i64(24, -1), axis=0)), perm=[0, 2, 1]), axis=2)
    am = g.op("Cast", g.op("ArgMax", y, axis=1, keepdims=0), to=1)
    g.save("paddle", x, [1, 3, 20, 28], [y2, y3, am], [-1, 3, 20, 28])


def paddleocr():
    "reading text as PP-OCR does: height goes first, squeeze-excite by a hard sigmoid of slope 0.2, hard-swish written out, classes last"
    g = G(13)
    own = np.random.default_rng(11)

    def conv(y, i, o, k, st, name):
        w = g.w((own.standard_normal((o, i, k, k)) / np.sqrt(i * k * k)).astype(np.float32), f"{name}.w_0")
        b = g.w(own.uniform(-0.1, 0.1, o).astype(np.float32), f"{name}.b_0")
        return g.op("Conv", y, w, b, kernel_shape=[k, k], pads=[k // 2] * 4, strides=st)

    y, c = "x", 3
    for i, (o, st) in enumerate(((8, [2, 2]), (12, [2, 1]), (16, [2, 1]))):
        y = conv(y, c, o, 3, st, f"stage{i}.conv")
        gate = g.op("Clip", g.op("Add", y, g.w(np.float32(3))), g.w(np.float32(0)), g.w(np.float32(6)))
        y = g.op("Div", g.op("Mul", y, gate), g.w(np.array([6], np.float32)))
        p = g.op("Relu", conv(g.op("GlobalAveragePool", y), o, 4, 1, [1, 1], f"stage{i}.se.down"))
        p = g.op("HardSigmoid", conv(p, 4, o, 1, [1, 1], f"stage{i}.se.up"), alpha=0.2, beta=0.5)
        y, c = g.op("Mul", y, p), o
    y = g.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = g.op("Transpose", g.op("Squeeze", y, g.i64(2)), perm=[0, 2, 1])
    y = g.op("MatMul", y, g.w(own.standard_normal((16, 7)).astype(np.float32), "head.w_0"))
    y = g.op("Softmax", g.op("Add", y, g.w(own.standard_normal(7).astype(np.float32), "head.b_0")), axis=2)
    g.save("paddleocr", "x", [2, 3, 16, 40], [y], [-1, 3, 16, -1])


def tfmisc():
    "FusedBN as Mul/Add on NHWC, BiasAdd with Add, split/concat/stack, prelu shared axes, LeakyRelu, tile, expand"
    g = G()
    x = "p"
    y = g.conv(x, 3, 12, 3, 1, bias=False)
    y = g.op(
        "Add",
        g.op("Mul", y, g.w(rng.uniform(0.5, 1.5, 12).astype(np.float32), "bn/mul")),
        g.w(rng.standard_normal(12).astype(np.float32), "bn/add"),
    )
    y = g.op("PRelu", y, g.w(rng.uniform(0, 0.5, (1, 1, 12)).astype(np.float32), "alpha"))
    a, b, c = g.op("Split", y, g.i64(4, 4, 4), n=3, axis=3)
    y = g.op("Concat", c, g.op("Mul", a, b), axis=-1)
    st = g.op("Concat", g.op("Unsqueeze", a, g.i64(1)), g.op("Unsqueeze", b, g.i64(1)), axis=1)
    m = g.op("ReduceMax", st, axes=[1], keepdims=0)
    t = g.op("Tile", g.op("ReduceMean", m, axes=[1, 2], keepdims=1), g.i64(1, 7, 9, 1))
    y = g.op("Concat", y, t, axis=3)
    e = g.op("Expand", g.op("ReduceSum", y, g.i64(3), keepdims=1), g.i64(1, 7, 9, 2))
    l2 = g.op("LpNormalization", y, axis=3, p=2)
    g.save("tfmisc", x, [1, 7, 9, 3], [y, e, l2])


def qdq():
    "QDQ"
    g = G()
    x = "q"

    def qdq(y, s, z=0, t=np.int8):
        S = g.w(np.float32(s))
        Z = g.w(np.array(z, t))
        return g.op("DequantizeLinear", g.op("QuantizeLinear", y, S, Z), S, Z)

    y = qdq(x, 0.02)
    k = rng.integers(-127, 127, (8, 3, 3, 3)).astype(np.int8)
    W = g.op("DequantizeLinear", g.w(k, "kq"), g.w(rng.uniform(0.002, 0.006, 8).astype(np.float32)), g.w(np.zeros(8, np.int8)), axis=0)
    y = g.op("Conv", y, W, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    y = g.op("Relu", y)
    y = qdq(y, 0.03, -128)
    y = g.op("GlobalAveragePool", y)
    g.save("qdq", x, [1, 3, 8, 8], [y])


def tfdet():
    "detection post shapes: gather known, meshgrid anchors, exp, boxes; GatherElements, einsum, cumsum, trilu"
    g = G(17)
    x = "d"
    y = g.conv(x, 3, 8, 3, 2)
    y = g.op("Reshape", y, g.i64(1, -1, 8))
    c = g.op("Gather", y, g.i64(0, 2, 1, 5), axis=2)
    wh = g.op("Exp", g.op("Slice", y, g.i64(6), g.i64(8), g.i64(2)))
    q = g.op("Mul", wh, g.w(rng.uniform(1, 2, (1, 64, 2)).astype(np.float32), "anchors"))
    e = g.op("Einsum", c, q, equation="bnc,bnd->bcd")
    am = g.op("ArgMax", c, axis=2, keepdims=1)
    ge = g.op("GatherElements", c, am, axis=2)
    cs = g.op("CumSum", ge, g.w(np.int64(1)))
    tr = g.op("Trilu", e, upper=0)
    oh = g.op("OneHot", g.op("Squeeze", am, g.i64(2)), g.i64(4), g.w(np.array([0, 1], np.float32)))
    g.save("tfdet", x, [1, 16, 16, 3], [c, q, e, ge, cs, tr, oh])


GRAPHS = [kmobile, tfreshape, tfunet, kmbv3, tfgan, kwave, paddle, tfmisc, qdq, tfdet, paddleocr]

FIXTURES = [
    ("residual", "s13d"),
    ("inverted", "s11n"),
    ("misc", "s17"),
    ("vol", "s17"),
    ("swin", "s17"),
    ("grn", "s11n"),
    ("audio", "s13d"),
    ("aspp", "s13d"),
]


def exported(name, only=None):
    """The network by each exporter: style, model, shape of the input."""
    make, shape = NETS[name]
    torch.manual_seed(3)
    net = prep(make())
    x = torch.from_numpy(seeded("input", shape))
    styles = [
        ("s17", dict(dynamo=False, opset_version=17)),
        ("s11n", dict(dynamo=False, opset_version=11, do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE)),
        ("dyn18", dict(dynamo=True)),
    ]
    if name in DYN:
        axes = {i: f"d{i}" for i in range(len(shape)) if i != 1}
        styles.append(("s13d", dict(dynamo=False, opset_version=13, dynamic_axes={"x": axes})))
        styles.append(("dynd", dict(dynamo=True, dynamic_shapes=({i: torch.export.Dim.DYNAMIC for i in axes},))))
    for style, options in styles:
        if options.get("dynamo"):
            options["external_data"] = False
        if only not in (None, style):
            continue
        path = pathlib.Path(tempfile.gettempdir()) / "cnnc_zoo.onnx"
        with open(os.devnull, "w") as nothing:
            out = os.dup(1)
            os.dup2(nothing.fileno(), 1)
            try:
                torch.onnx.export(net, (x,), path, input_names=["x"], **options)
            except Exception as error:
                # Not every operator set has everything.
                print("not exported:", name, style, str(error).splitlines()[0][:120], file=sys.stderr)
                continue
            finally:
                os.dup2(out, 1)
                os.close(out)
        model = onnx.load(path)
        for node in model.graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
        del model.graph.value_info[:]
        yield style, model, shape


def all_models(wanted):
    """Name, model, shape of the input."""
    for make in GRAPHS:
        make()
    for name, (model, shape) in MADE.items():
        if not wanted or name in wanted:
            yield name, model, shape
    for name in NETS:
        if not wanted or name in wanted:
            for style, model, shape in exported(name):
                yield f"{name}_{style}", model, shape


def compare(folder, cnnc, wanted):
    count = wrong = flat = 0

    def call(*args):
        done = subprocess.run([cnnc, *map(str, args)], capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout, done.stderr

    for name, model, shape in all_models(wanted):
        count += 1
        file, x = folder / f"{name}.onnx", folder / f"{name}.x.npy"
        onnx.save(model, file)
        np.save(x, seeded("input", shape))
        s = session(model)
        port = s.get_inputs()[0].name
        results = s.run(None, {port: seeded("input", shape)})
        files = []
        for i, y in enumerate(results):
            files.append(folder / f"{name}.{i}.npy")
            np.save(files[-1], y.astype(np.float32))
        bound = ["--shape", f"{port}={'x'.join(map(str, shape))}"]
        names = [o.name for o in s.get_outputs()]

        def expected(names):
            return [a for n, f in zip(names, files) for a in ("-e", f"{n}={f}" if len(files) > 1 else f)]

        code, out, err = call("run", file, *bound, "-i", x, *expected(names))
        if code:
            wrong += 1
            print("WRONG", name, (err + out).strip()[:500])
            continue
        program, weights = folder / f"{name}.cnn", folder / f"{name}.npz"
        code, out, err = call("import", file, *bound, "-o", program, "-w", weights)
        if code:
            flat += 1
            print("no program:", name, err.strip().splitlines()[0][:200])
            continue
        many = re.search(r"-> \((.*)\)", call("check", program)[1])
        ports = re.findall(r"(\w+): \[", many.group(1)) if many else ["out"]
        code, out, err = call("run", program, "-w", weights, "-i", x, "--batch", shape[0], *expected(ports))
        if code:
            wrong += 1
            print("WRONG AS A PROGRAM", name, (err + out).strip()[:500])
    print(f"{count} models, {wrong} wrong, {flat} that are no program")
    return wrong


def fixtures():
    for make in GRAPHS:
        make()
    for name, (model, shape) in MADE.items():
        given(name, model, shape)
    for name, style in FIXTURES:
        for _, model, shape in exported(name, style):
            given(f"{name}_{style}", model, shape)


if __name__ == "__main__":
    if sys.argv[1] == "--fixtures":
        fixtures()
    else:
        folder = pathlib.Path(sys.argv[1])
        folder.mkdir(parents=True, exist_ok=True)
        sys.exit(1 if compare(folder, sys.argv[2], sys.argv[3:]) else 0)
