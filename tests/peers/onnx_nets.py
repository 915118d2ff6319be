"""Networks for onnx_real.py in PyTorch, written in the manner of well-known ones: `NETS` maps a name to what makes it and shapes."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def cba(i, o, k=3, s=1, g=1, d=1, act=nn.ReLU):
    return nn.Sequential(nn.Conv2d(i, o, k, s, d * (k // 2), d, g, bias=False), nn.BatchNorm2d(o), act())


class Net(nn.Module):
    """Layers as attributes, the way from input to output as a function of the net and the inputs."""

    def __init__(s, way, **layers):
        super().__init__()
        s.way = way
        for name, layer in layers.items():
            setattr(s, name, layer)

    def forward(s, *x):
        return s.way(s, *x)


def focus():
    """Slices with steps, attention over channels and places expanded to whole tensors, positions of their own, classes by maxima."""

    def way(s, x):
        x = torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)
        x = s.a(x) + s.places
        x = x * torch.sigmoid(s.b(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1))).expand_as(x)
        x = x / (1e-6 + torch.linalg.vector_norm(x, dim=1, keepdim=True))
        return s.c(x).argmax(1, keepdim=True), x.sum(3).sum(2)

    net = Net(way, a=cba(12, 8), b=nn.Conv2d(2, 1, 7, padding=3), c=nn.Conv2d(8, 5, 1))
    net.places = nn.Parameter(torch.randn(1, 8, 12, 10) * 0.1)
    return net


def ssd():
    priors = torch.rand(1, 4 * (8 * 8 + 4 * 4), 4) * 0.8 + 0.1

    def way(s, x):
        a = s.a(x)
        b = s.b(a)
        conf, loc = [], []
        for f, c, l in ((a, s.c[0], s.l[0]), (b, s.c[1], s.l[1])):
            conf.append(c(f).permute(0, 2, 3, 1).contiguous().view(x.size(0), -1, 6))
            loc.append(l(f).permute(0, 2, 3, 1).contiguous().view(x.size(0), -1, 4))
        conf, loc = torch.cat(conf, 1), torch.cat(loc, 1)
        boxes = torch.cat([priors[..., :2] + loc[..., :2] * 0.1 * priors[..., 2:], priors[..., 2:] * torch.exp(loc[..., 2:] * 0.2)], 2)
        boxes = torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)
        return F.softmax(conf, -1), boxes

    L2 = F.normalize
    return Net(
        lambda s, x: way(s, x),
        a=nn.Sequential(cba(3, 8, 3, 2), cba(8, 16, 3, 2), cba(16, 24, 3, 2)),
        b=cba(24, 32, 3, 2),
        c=nn.ModuleList([nn.Conv2d(24, 24, 3, padding=1), nn.Conv2d(32, 24, 3, padding=1)]),
        l=nn.ModuleList([nn.Conv2d(24, 16, 3, padding=1), nn.Conv2d(32, 16, 3, padding=1)]),
    )


class YoloV5(nn.Module):
    def __init__(s):
        super().__init__()
        A = nn.SiLU
        s.b = nn.ModuleList([nn.Sequential(cba(3, 8, 6 - 1, 2, act=A), cba(8, 16, 3, 2, act=A)), cba(16, 24, 3, 2, act=A), cba(24, 32, 3, 2, act=A)])
        s.m = nn.ModuleList([nn.Conv2d(c, 3 * 7, 1) for c in (16, 24, 32)])
        s.register_buffer("anchors", torch.rand(3, 3, 2) * 4 + 1)
        s.pool = nn.MaxPool2d(5, 1, 2)

    def forward(s, x):
        z = []
        for i, (b, m) in enumerate(zip(s.b, s.m)):
            x = b(x)
            if i == 2:
                y1 = s.pool(x)
                y2 = s.pool(y1)
                x = x + y1 * y2 - s.pool(y2)
            y = m(x)
            n, _, ny, nx = y.shape
            y = y.view(n, 3, 7, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
            yv, xv = torch.meshgrid(torch.arange(ny), torch.arange(nx), indexing="ij")
            grid = torch.stack((xv, yv), 2).expand(1, 3, ny, nx, 2).float() - 0.5
            xy, wh, conf = y.sigmoid().split((2, 2, 3), 4)
            xy = (xy * 2 + grid) * 2.0 ** (i + 2)
            wh = (wh * 2) ** 2 * s.anchors[i].view(1, 3, 1, 1, 2).expand(1, 3, ny, nx, 2)
            z.append(torch.cat((xy, wh, conf), 4).view(n, 3 * nx * ny, 7))
        return torch.cat(z, 1)


class YoloV8(nn.Module):
    def __init__(s):
        super().__init__()
        A = nn.SiLU
        s.a = nn.Sequential(cba(3, 8, 3, 2, act=A), cba(8, 16, 3, 2, act=A))
        s.c2f = nn.ModuleList([cba(16, 16, 1, act=A), cba(8, 8, act=A), cba(8, 8, act=A), cba(32, 16, 1, act=A)])
        s.b = cba(16, 24, 3, 2, act=A)
        s.up = nn.Upsample(scale_factor=2)
        s.j = cba(40, 16, 1, act=A)
        s.box = nn.ModuleList([nn.Conv2d(c, 64, 1) for c in (16, 24)])
        s.cls = nn.ModuleList([nn.Conv2d(c, 5, 1) for c in (16, 24)])
        s.dfl = nn.Conv2d(16, 1, 1, bias=False)
        s.dfl.weight.requires_grad_(False)

    def forward(s, x):
        a = s.a(x)
        y = list(s.c2f[0](a).chunk(2, 1))
        y.append(s.c2f[1](y[-1]))
        y.append(y[-1] + s.c2f[2](y[-1]))
        a = s.c2f[3](torch.cat(y, 1))
        b = s.b(a)
        a = s.j(torch.cat([s.up(b), a], 1))
        out, points, strides = [], [], []
        for f, q, c, st in zip((a, b), s.box, s.cls, (4.0, 8.0)):
            out.append(torch.cat((q(f), c(f)), 1).view(x.shape[0], 69, -1))
            h, w = f.shape[2:]
            sy, sx = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
            points.append(torch.stack((sx, sy), -1).view(-1, 2))
            strides.append(torch.full((h * w, 1), st))
        points, strides = torch.cat(points).T[None], torch.cat(strides).T
        box, cls = torch.cat(out, 2).split((64, 5), 1)
        n, _, k = box.shape
        d = s.dfl(box.view(n, 4, 16, k).transpose(2, 1).softmax(1)).view(n, 4, k)
        lt, rb = d.chunk(2, 1)
        p, q = points - lt, points + rb
        return torch.cat((torch.cat(((p + q) / 2, q - p), 1) * strides, cls.sigmoid()), 1)


class HRNet(nn.Module):
    def __init__(s):
        super().__init__()
        s.stem = cba(3, 8, 3, 2)
        s.t = nn.ModuleList([cba(8, 8), cba(8, 16, 3, 2)])
        s.b = nn.ModuleList([cba(8, 8), cba(16, 16)])
        s.down = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16))
        s.up = nn.Sequential(nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8), nn.Upsample(scale_factor=2, mode="nearest"))
        s.o = nn.Conv2d(24, 7, 1)

    def forward(s, x):
        x = s.stem(x)
        a, b = (t(x) for t in s.t)
        for _ in range(2):
            a, b = s.b[0](a), s.b[1](b)
            a, b = F.relu(a + s.up(b)), F.relu(s.down(a) + b)
        b = F.interpolate(b, size=(a.size(2), a.size(3)), mode="bilinear", align_corners=True)
        y = s.o(torch.cat([a, b], 1))
        n, c, h, w = y.shape
        p = y.view(n, c, -1).softmax(2)
        g = torch.arange(w, dtype=torch.float32).repeat(h)
        return y, (p * g).sum(2), p.view(n, c, h, w).sum(2)


class BiFPN(nn.Module):
    def __init__(s):
        super().__init__()
        s.a = nn.ModuleList([nn.Sequential(cba(3, 8, 3, 2), cba(8, 8, 3, 2)), cba(8, 8, 3, 2), cba(8, 8, 3, 2)])
        s.w = nn.Parameter(torch.rand(4, 2) + 0.1)
        s.c = nn.ModuleList([nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.SiLU()) for _ in range(4)])

    def mix(s, i, x, y):
        w = F.relu(s.w[i])
        w = w / (w.sum() + 1e-4)
        return s.c[i](w[0] * x + w[1] * y)

    def forward(s, x):
        f = []
        for a in s.a:
            x = a(x)
            f.append(x)
        p3, p4, p5 = f
        p4 = s.mix(0, p4, F.interpolate(p5, scale_factor=2))
        p3 = s.mix(1, p3, F.interpolate(p4, scale_factor=2))
        p4 = s.mix(2, p4, F.max_pool2d(F.pad(p3, (0, 1, 0, 1)), 3, 2))
        p5 = s.mix(3, p5, F.max_pool2d(p4, 3, 2, 1))
        return p3, p4, p5


class PANN(nn.Module):
    "a log-mel of a framed signal by convolutions with fixed kernels, and a CNN over it"

    def __init__(s):
        super().__init__()
        n = 64
        t = torch.arange(n) / n * 2 * math.pi
        k = torch.arange(n // 2 + 1)[:, None] * t
        s.re = nn.Conv1d(1, n // 2 + 1, n, 32, bias=False)
        s.im = nn.Conv1d(1, n // 2 + 1, n, 32, bias=False)
        s.re.weight.data, s.im.weight.data = (torch.cos(k) * torch.hann_window(n))[:, None], (-torch.sin(k) * torch.hann_window(n))[:, None]
        s.mel = nn.Parameter(torch.rand(n // 2 + 1, 16))
        s.bn0 = nn.BatchNorm2d(16)
        s.c = nn.ModuleList([cba(1, 8), cba(8, 12)])
        s.fc = nn.Linear(12, 12)
        s.o = nn.Linear(12, 5)

    def forward(s, x):
        x = F.pad(x[:, None, :], (32, 32), mode="reflect")
        y = s.re(x) ** 2 + s.im(x) ** 2
        y = torch.matmul(y.transpose(1, 2)[:, None], s.mel)
        y = 10.0 * torch.log10(torch.clamp(y, min=1e-10))
        y = s.bn0(y.transpose(1, 3)).transpose(1, 3)
        for c in s.c:
            y = c(y)
            y = F.avg_pool2d(y, 2) + F.max_pool2d(y, 2)
        y = torch.mean(y, dim=3)
        a, _ = torch.max(y, dim=2)
        y = a + torch.mean(y, dim=2)
        e = F.relu_(s.fc(y))
        return torch.sigmoid(s.o(e)), e


class WaveNet(nn.Module):
    def __init__(s):
        super().__init__()
        s.i = nn.Conv1d(4, 12, 1)
        s.f = nn.ModuleList([nn.Conv1d(12, 24, 2, dilation=2**d) for d in range(5)])
        s.r = nn.ModuleList([nn.Conv1d(12, 12, 1) for _ in range(5)])
        s.k = nn.ModuleList([nn.Conv1d(12, 16, 1) for _ in range(5)])
        s.o = nn.Sequential(nn.ReLU(), nn.Conv1d(16, 16, 1), nn.ReLU(), nn.Conv1d(16, 8, 1))

    def forward(s, x):
        x = s.i(x)
        skip = 0
        for d, (f, r, k) in enumerate(zip(s.f, s.r, s.k)):
            y = f(F.pad(x, (2**d, 0)))
            a, b = y.chunk(2, 1)
            y = torch.tanh(a) * torch.sigmoid(b)
            skip = skip + k(y)
            x = x + r(y)
        return F.log_softmax(s.o(skip), 1)


class ConvTasNet(nn.Module):
    def __init__(s):
        super().__init__()
        s.e = nn.Conv1d(1, 16, 16, 8, bias=False)
        s.n = nn.GroupNorm(1, 16, eps=1e-8)
        s.b = nn.ModuleList(
            [nn.Sequential(nn.Conv1d(16, 24, 1), nn.PReLU(), nn.GroupNorm(1, 24), nn.Conv1d(24, 24, 3, padding=d, dilation=d, groups=24), nn.PReLU(), nn.GroupNorm(1, 24), nn.Conv1d(24, 16, 1)) for d in (1, 2, 4)]
        )
        s.m = nn.Conv1d(16, 32, 1)
        s.d = nn.ConvTranspose1d(16, 1, 16, 8, bias=False)

    def forward(s, x):
        w = F.relu(s.e(x.unsqueeze(1)))
        y = s.n(w)
        for b in s.b:
            y = y + b(y)
        m = torch.sigmoid(s.m(y)).view(x.shape[0], 2, 16, -1)
        return torch.cat([s.d(w * m[:, i]) for i in range(2)], 1)


class MobileViT(nn.Module):
    def __init__(s):
        super().__init__()
        s.a = nn.Sequential(cba(3, 16, 3, 2, act=nn.SiLU), cba(16, 16, act=nn.SiLU))
        s.i = nn.Conv2d(16, 24, 1, bias=False)
        s.q = nn.Linear(24, 72)
        s.p = nn.Linear(24, 24)
        s.n1, s.n2, s.n3 = nn.LayerNorm(24), nn.LayerNorm(24), nn.LayerNorm(24)
        s.m = nn.Sequential(nn.Linear(24, 48), nn.SiLU(), nn.Linear(48, 24))
        s.o = cba(24, 16, 1)
        s.f = cba(32, 16)

    def forward(s, x):
        x = s.a(x)
        y = s.i(x)
        n, c, h, w = y.shape
        y = y.reshape(n * c * (h // 2), 2, w // 2, 2).transpose(1, 2)
        y = y.reshape(n, c, h * w // 4, 4).transpose(1, 3).reshape(n * 4, h * w // 4, c)
        t = s.n1(y)
        q, k, v = s.q(t).reshape(n * 4, -1, 3, 4, 6).permute(2, 0, 3, 1, 4).unbind(0)
        a = (q @ k.transpose(-2, -1) * 6**-0.5).softmax(-1)
        y = y + s.p((a @ v).transpose(1, 2).reshape(n * 4, -1, c))
        y = s.n3(y + s.m(s.n2(y)))
        y = y.contiguous().view(n, 4, h * w // 4, -1).transpose(1, 3).reshape(n * c * (h // 2), w // 2, 2, 2)
        y = y.transpose(1, 2).reshape(n, c, h, w)
        return s.f(torch.cat([x, s.o(y)], 1)).mean((2, 3))


class NonLocal(nn.Module):
    def __init__(s):
        super().__init__()
        s.a = cba(3, 16, 3, 2)
        s.t, s.p, s.g = (nn.Conv2d(16, 8, 1) for _ in range(3))
        s.w = nn.Sequential(nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16))
        s.dan = nn.Parameter(torch.rand(1))

    def forward(s, x):
        x = s.a(x)
        n, c, h, w = x.shape
        g = s.g(F.max_pool2d(x, 2)).view(n, 8, -1).permute(0, 2, 1)
        t = s.t(x).view(n, 8, -1).permute(0, 2, 1)
        p = s.p(F.max_pool2d(x, 2)).view(n, 8, -1)
        f = F.softmax(torch.matmul(t, p), dim=-1)
        y = torch.matmul(f, g).permute(0, 2, 1).contiguous().view(n, 8, h, w)
        x = x + s.w(y)
        q = x.view(n, c, -1)
        e = torch.bmm(q, q.permute(0, 2, 1))
        e = torch.max(e, -1, keepdim=True)[0].expand_as(e) - e
        return s.dan * torch.bmm(F.softmax(e, -1), q).view(n, c, h, w) + x


class Stn(nn.Module):
    def __init__(s, mode="bilinear", pad="zeros", align=False):
        super().__init__()
        s.how = dict(mode=mode, padding_mode=pad, align_corners=align)
        s.l = nn.Sequential(nn.Conv2d(1, 8, 7), nn.MaxPool2d(2, 2), nn.ReLU(), nn.Conv2d(8, 10, 5), nn.MaxPool2d(2, 2), nn.ReLU())
        s.f = nn.Sequential(nn.Linear(90, 32), nn.ReLU(), nn.Linear(32, 6))
        s.c = nn.Conv2d(1, 4, 3)

    def forward(s, x):
        t = s.f(s.l(x).flatten(1)).tanh().view(-1, 2, 3) * 0.2 + torch.tensor([[1.0, 0.1, 0], [-0.2, 1.1, 0]])
        g = F.affine_grid(t, list(x.shape), align_corners=s.how["align_corners"])
        return s.c(F.grid_sample(x, g, **s.how))


class Flow(nn.Module):
    "a warp by a flow, and a correlation of features"

    def __init__(s):
        super().__init__()
        s.f = cba(3, 8, 3, 2)
        s.o = nn.Conv2d(25 + 16, 2, 3, padding=1)

    def forward(s, a, b):
        a, b = s.f(a), s.f(b)
        n, c, h, w = a.shape
        p = F.pad(b, (2, 2, 2, 2))
        corr = torch.cat([(a * p[:, :, i : i + h, j : j + w]).mean(1, keepdim=True) for i in range(5) for j in range(5)], 1)
        flow = s.o(torch.cat([corr, a, b], 1))
        ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack((xs, ys), 0)[None].float() + flow
        vx, vy = 2 * grid[:, 0] / (w - 1) - 1, 2 * grid[:, 1] / (h - 1) - 1
        return F.grid_sample(b, torch.stack((vx, vy), -1), padding_mode="border", align_corners=True), flow


class SegNet(nn.Module):
    def __init__(s):
        super().__init__()
        s.a, s.b, s.c, s.d = cba(3, 8), cba(8, 12), cba(12, 8), cba(8, 4)

    def forward(s, x):
        x = s.a(x)
        x, i = F.max_pool2d(x, 2, 2, return_indices=True)
        x = s.b(x)
        x, j = F.max_pool2d(x, 2, 2, return_indices=True)
        x = F.max_unpool2d(x, j, 2, 2)
        x = s.c(x)
        return s.d(F.max_unpool2d(x, i, 2, 2))


class CycleGan(nn.Module):
    def __init__(s):
        super().__init__()
        I = nn.InstanceNorm2d
        s.m = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(3, 8, 7), I(8), nn.ReLU(True), nn.Conv2d(8, 16, 3, 2, 1), I(16), nn.ReLU(True)
        )
        s.r = nn.ModuleList([nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(16, 16, 3), I(16), nn.ReLU(True), nn.ReplicationPad2d(1), nn.Conv2d(16, 16, 3), I(16, affine=True)) for _ in range(3)])
        s.u = nn.Sequential(nn.ConvTranspose2d(16, 8, 3, 2, 1, 1), I(8), nn.ReLU(True), nn.ReflectionPad2d(3), nn.Conv2d(8, 3, 7), nn.Tanh())

    def forward(s, x):
        x = s.m(x)
        for r in s.r:
            x = x + r(x)
        return s.u(x)


class StyleMod(nn.Module):
    "a convolution whose kernel depends on the input, demodulated"

    def __init__(s):
        super().__init__()
        s.w = nn.Parameter(torch.randn(1, 6, 4, 3, 3) * 0.2)
        s.a = nn.Linear(8, 4)

    def forward(s, x, z):
        w = s.w * (s.a(z).view(-1, 1, 4, 1, 1) + 1)
        w = w * torch.rsqrt(w.pow(2).sum([2, 3, 4], keepdim=True) + 1e-8)
        n, _, h, ww = x.shape
        y = F.conv2d(x.view(1, n * 4, h, ww), w.view(n * 6, 4, 3, 3), padding=1, groups=n)
        return F.leaky_relu(y.view(n, 6, h, ww), 0.2) * 1.414


class Siamese(nn.Module):
    "a cross-correlation of two feature maps: the kernel is an input's"

    def __init__(s):
        super().__init__()
        s.f = nn.Sequential(cba(3, 8, 3, 2), cba(8, 8))

    def forward(s, z, x):
        z, x = s.f(z), s.f(x)
        n, c, h, w = x.shape
        up = F.conv2d(x.view(1, n * c, h, w), z.view(n * c, 1, *z.shape[2:]), groups=n * c)
        return up.view(n, c, up.shape[2], up.shape[3]), F.conv2d(x, z)


class Involution(nn.Module):
    def __init__(s):
        super().__init__()
        s.r = cba(16, 4, 1)
        s.s = nn.Conv2d(4, 9 * 4, 1)
        s.i = nn.Conv2d(3, 16, 1)

    def forward(s, x):
        x = s.i(x)
        n, c, h, w = x.shape
        k = s.s(s.r(x)).view(n, 4, 9, h, w).unsqueeze(2)
        u = F.unfold(x, 3, padding=1).view(n, 4, 4, 9, h, w)
        y = (k * u).sum(3).view(n, c, h, w)
        return y, F.fold(F.unfold(y, 2, stride=2), (h, w), 2, stride=2)


class SegFormer(nn.Module):
    def __init__(s):
        super().__init__()
        s.p = nn.Conv2d(3, 16, 7, 4, 3)
        s.n = nn.LayerNorm(16)
        s.sr = nn.Conv2d(16, 16, 2, 2)
        s.at = nn.MultiheadAttention(16, 2, batch_first=True)
        s.f1, s.f2 = nn.Linear(16, 32), nn.Linear(32, 16)
        s.dw = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        s.h = nn.Conv2d(16, 4, 1)

    def forward(s, x):
        f = s.p(x)
        n, c, h, w = f.shape
        t = s.n(f.flatten(2).transpose(1, 2))
        kv = s.sr(t.transpose(1, 2).reshape(n, c, h, w)).flatten(2).transpose(1, 2)
        t = t + s.at(t, kv, kv, need_weights=False)[0]
        m = s.f1(t).transpose(1, 2).view(n, 32, h, w)
        t = t + s.f2(F.gelu(s.dw(m).flatten(2).transpose(1, 2), approximate="tanh"))
        f = t.transpose(1, 2).reshape(n, c, h, w)
        return F.interpolate(s.h(f), scale_factor=4, mode="bilinear", align_corners=False)


class ViT(nn.Module):
    def __init__(s):
        super().__init__()
        s.p = nn.Conv2d(3, 16, 8, 8)
        s.c = nn.Parameter(torch.rand(1, 1, 16))
        s.e = nn.Parameter(torch.rand(1, 17, 16))
        s.t = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu", norm_first=True)
        s.h = nn.Linear(16, 5)

    def forward(s, x):
        t = s.p(x).flatten(2).transpose(1, 2)
        t = torch.cat([s.c.expand(x.shape[0], -1, -1), t], 1) + s.e
        return s.h(s.t(t)[:, 0])


class C3D(nn.Module):
    def __init__(s):
        super().__init__()
        s.a = nn.Conv3d(3, 8, 3, padding=1)
        s.b = nn.Conv3d(8, 12, (1, 3, 3), padding=(0, 1, 1))
        s.c = nn.Conv3d(12, 12, (3, 1, 1), padding=(1, 0, 0), groups=3)
        s.f = nn.Linear(12 * 2 * 4 * 4, 6)

    def forward(s, x):
        x = F.max_pool3d(F.relu(s.a(x)), (1, 2, 2))
        x = F.avg_pool3d(F.relu(s.c(s.b(x))), 3, 2, 1, count_include_pad=False)
        x = F.max_pool3d(x, 2, 2, padding=(0, 0, 0), ceil_mode=True)
        return s.f(F.dropout(x.flatten(1), 0.5, s.training))


class Sr(nn.Module):
    def __init__(s, way):
        super().__init__()
        s.a = nn.Conv2d(1, 16, 5, padding=2)
        s.r = nn.ModuleList([nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.PReLU(16), nn.Conv2d(16, 16, 3, padding=1)) for _ in range(2)])
        s.u = nn.Conv2d(16, 9, 3, padding=1)
        s.way = way

    def forward(s, x):
        y = torch.tanh(s.a(x))
        for r in s.r:
            y = y + r(y) * 0.1
        up = F.pixel_shuffle(s.u(y), 3)
        if s.way == "cubic":
            return up + F.interpolate(x, scale_factor=3, mode="bicubic", align_corners=False)
        if s.way == "cubic_corners":
            return up + F.interpolate(x, scale_factor=3, mode="bicubic", align_corners=True)
        if s.way == "antialias":
            return F.interpolate(up, scale_factor=0.4, mode="bilinear", antialias=True), F.interpolate(up, size=(7, 9), mode="bicubic", antialias=True)
        return F.interpolate(up, scale_factor=0.7, mode="bilinear", align_corners=s.way == "corners"), F.pixel_unshuffle(up, 3)


class Resized(nn.Module):
    "every way to resize to an extent that is no multiple"

    def __init__(s):
        super().__init__()
        s.c = nn.Conv2d(3, 4, 3, padding=1)

    def forward(s, x):
        x = s.c(x)
        out = []
        for scale in (1.3, 0.77, 2.5, (1.21, 0.6)):
            for mode, align in (("bilinear", False), ("bilinear", True), ("bicubic", False), ("bicubic", True), ("nearest", None), ("nearest-exact", None)):
                try:
                    out.append(F.interpolate(x, scale_factor=scale, mode=mode, align_corners=align, **({"recompute_scale_factor": True} if scale == 2.5 else {})))
                except Exception:
                    pass
        return tuple(out)


class Resized2(Resized):
    def forward(s, x):
        x = s.c(x)
        return tuple(
            F.interpolate(x, scale_factor=q, mode=m, align_corners=a, recompute_scale_factor=r)
            for q in (1.3, 0.77, 2.5)
            for m, a in (("bilinear", False), ("bilinear", True), ("bicubic", True), ("nearest", None))
            for r in (None, True)
        )


class Res2Ghost(nn.Module):
    def __init__(s):
        super().__init__()
        s.a = cba(3, 16, 3, 2)
        s.b = nn.ModuleList([cba(4, 4) for _ in range(3)])
        s.g = nn.ModuleList([cba(16, 8, 1), cba(8, 8, 3, g=8)])
        s.sk = nn.ModuleList([cba(16, 16, 3, d=d, g=4) for d in (1, 2)])
        s.z = nn.Linear(16, 8)
        s.fc = nn.ModuleList([nn.Linear(8, 16) for _ in range(2)])

    def forward(s, x):
        x = s.a(x)
        p = torch.split(x, 4, 1)
        y, out = p[0], [p[0]]
        for q, b in zip(p[1:], s.b):
            y = b(q + y if len(out) > 1 else q)
            out.append(y)
        x = torch.cat(out, 1)
        g = s.g[0](x)
        x = torch.cat([g, s.g[1](g)], 1)
        f = torch.stack([k(x) for k in s.sk], 1)
        z = s.z(f.sum(1).mean((-1, -2)))
        w = torch.softmax(torch.stack([q(z) for q in s.fc], 1), 1)
        return (f * w[:, :, :, None, None]).sum(1)


class Cbam(nn.Module):
    def __init__(s):
        super().__init__()
        s.a = cba(3, 16, 3, 2)
        s.m = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 16))
        s.c = nn.Sequential(nn.Conv2d(2, 1, 7, padding=3, bias=False), nn.BatchNorm2d(1))
        s.h, s.w = nn.Conv2d(8, 16, 1), nn.Conv2d(8, 16, 1)
        s.r = nn.Sequential(nn.Conv2d(16, 8, 1), nn.BatchNorm2d(8), nn.Hardswish())

    def forward(s, x):
        x = s.a(x)
        g = torch.sigmoid(s.m(F.avg_pool2d(x, x.shape[2:])) + s.m(F.max_pool2d(x, (x.size(2), x.size(3)))))
        x = x * g.unsqueeze(2).unsqueeze(3).expand_as(x)
        x = x * torch.sigmoid(s.c(torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), 1)))
        n, c, h, w = x.size()
        a = F.adaptive_avg_pool2d(x, (None, 1))
        b = F.adaptive_avg_pool2d(x, (1, None)).permute(0, 1, 3, 2)
        y = s.r(torch.cat([a, b], 2))
        a, b = torch.split(y, [h, w], 2)
        return x * s.h(a).sigmoid() * s.w(b.permute(0, 1, 3, 2)).sigmoid()


class CenterNet(nn.Module):
    def __init__(s):
        super().__init__()
        s.a = nn.Sequential(cba(3, 8, 3, 2), cba(8, 16, 3, 2))
        s.u = nn.Sequential(nn.ConvTranspose2d(16, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        s.hm, s.wh = nn.Conv2d(16, 3, 1), nn.Conv2d(16, 2, 1)

    def forward(s, x):
        y = s.u(s.a(x))
        hm = s.hm(y).sigmoid()
        peak = F.max_pool2d(hm, 3, 1, 1)
        hm = hm * (peak == hm).float()
        best, which = hm.max(1)
        return hm, s.wh(y).exp(), best, which


class Fcos(nn.Module):
    def __init__(s):
        super().__init__()
        s.a = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.GroupNorm(4, 16), nn.ReLU())
        s.k = nn.Conv2d(16, 5, 3, padding=1)
        s.q = nn.Conv2d(16, 4, 3, padding=1)
        s.scale = nn.Parameter(torch.tensor(1.3))

    def forward(s, x):
        f = s.a(x)
        k = s.k(f).permute(0, 2, 3, 1).flatten(1, 2)
        q = F.relu(s.q(f) * s.scale).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4) * 4
        h, w = f.shape[-2:]
        ys, xs = torch.meshgrid(torch.arange(0, h * 4, 4), torch.arange(0, w * 4, 4), indexing="ij")
        p = torch.stack((xs.reshape(-1), ys.reshape(-1)), 1) + 2
        boxes = torch.stack([p[:, 0] - q[..., 0], p[:, 1] - q[..., 1], p[:, 0] + q[..., 2], p[:, 1] + q[..., 3]], -1)
        score, label = torch.max(k.sigmoid(), -1)
        return boxes.clamp(0, 63), score, label


class Icnet(nn.Module):
    def __init__(s):
        super().__init__()
        s.a, s.b = cba(3, 8, 3, 2), cba(8, 12, 3, 2)
        s.p = nn.ModuleList([nn.Sequential(nn.AdaptiveAvgPool2d(k), nn.Conv2d(12, 4, 1), nn.ReLU()) for k in (1, 2, 3, 6)])
        s.o = nn.Conv2d(28, 6, 3, padding=1)

    def forward(s, x):
        y = s.b(s.a(F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=True)))
        h, w = y.shape[2:]
        y = torch.cat([y] + [F.interpolate(p(y), (h, w), mode="bilinear", align_corners=True) for p in s.p], 1)
        return F.interpolate(s.o(y), size=x.shape[2:], mode="bilinear", align_corners=True).argmax(1)


class Vae(nn.Module):
    def __init__(s):
        super().__init__()
        s.e = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.ELU(), nn.Conv2d(8, 16, 4, 2, 1), nn.ELU(), nn.Flatten(), nn.Linear(16 * 49, 16))
        s.d = nn.Sequential(nn.Linear(8, 16 * 49), nn.ReLU(), nn.Unflatten(1, (16, 7, 7)), nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Sigmoid())

    def forward(s, x):
        m, v = s.e(x).chunk(2, 1)
        return s.d(m + torch.exp(0.5 * v) * 0.1), m, v


class Lka(nn.Module):
    "norms, gates and poolings that newer classifiers have"

    def __init__(s):
        super().__init__()
        s.a = nn.Conv2d(3, 12, 4, 4)
        s.k = nn.Sequential(nn.Conv2d(12, 12, 5, padding=2, groups=12), nn.Conv2d(12, 12, 7, padding=9, groups=12, dilation=3), nn.Conv2d(12, 12, 1))
        s.g = nn.GroupNorm(1, 12)
        s.ls = nn.Parameter(torch.rand(12))
        s.p = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        s.rms = nn.Parameter(torch.rand(12) + 0.5)
        s.glu = nn.Linear(12, 48)
        s.o = nn.Linear(24, 12)
        s.gem = nn.Parameter(torch.tensor(3.0))

    def forward(s, x):
        x = s.a(x)
        x = x + s.ls[:, None, None] * (s.p(s.g(x)) - s.g(x))
        x = x * s.k(x)
        t = x.permute(0, 2, 3, 1)
        t = t * torch.rsqrt(t.pow(2).mean(-1, keepdim=True) + 1e-6) * s.rms
        a, b = s.glu(t).chunk(2, -1)
        x = x + s.o(F.silu(a) * b).permute(0, 3, 1, 2)
        return F.avg_pool2d(x.clamp(min=1e-6).pow(s.gem), x.shape[-2:]).pow(1.0 / s.gem).flatten(1)


NETS = {
    "focus": (focus, [(2, 3, 24, 20)]),
    "ssd": (ssd, [(2, 3, 64, 64)]),
    "yolov5": (YoloV5, [(1, 3, 64, 96)]),
    "yolov8": (YoloV8, [(1, 3, 64, 64)]),
    "hrnet": (HRNet, [(1, 3, 48, 40)]),
    "bifpn": (BiFPN, [(1, 3, 64, 64)]),
    "pann": (PANN, [(2, 640)]),
    "wavenet": (WaveNet, [(2, 4, 64)]),
    "tasnet": (ConvTasNet, [(2, 200)]),
    "mobilevit": (MobileViT, [(2, 3, 32, 32)]),
    "nonlocal": (NonLocal, [(2, 3, 24, 16)]),
    "stn": (Stn, [(2, 1, 28, 28)]),
    "stn_near": (lambda: Stn("nearest", "border", True), [(2, 1, 28, 28)]),
    "stn_reflect": (lambda: Stn("bilinear", "reflection", True), [(2, 1, 28, 28)]),
    "stn_reflect2": (lambda: Stn("bicubic", "reflection", False), [(2, 1, 28, 28)]),
    "flow": (Flow, [(1, 3, 24, 32), (1, 3, 24, 32)]),
    "segnet": (SegNet, [(1, 3, 32, 24)]),
    "cyclegan": (CycleGan, [(1, 3, 32, 32)]),
    "stylemod": (StyleMod, [(2, 4, 12, 12), (2, 8)]),
    "siamese": (Siamese, [(1, 3, 12, 12), (1, 3, 32, 32)]),
    "involution": (Involution, [(1, 3, 12, 16)]),
    "segformer": (SegFormer, [(1, 3, 32, 48)]),
    "vit": (ViT, [(2, 3, 32, 32)]),
    "c3d": (C3D, [(1, 3, 8, 32, 32)]),
    "sr": (lambda: Sr(""), [(1, 1, 20, 17)]),
    "sr_corners": (lambda: Sr("corners"), [(1, 1, 20, 17)]),
    "sr_cubic": (lambda: Sr("cubic"), [(1, 1, 20, 17)]),
    "sr_cubic_corners": (lambda: Sr("cubic_corners"), [(1, 1, 20, 17)]),
    "sr_antialias": (lambda: Sr("antialias"), [(1, 1, 20, 17)]),
    "resized": (Resized, [(1, 3, 13, 17)]),
    "resized2": (Resized2, [(1, 3, 13, 17)]),
    "res2ghost": (Res2Ghost, [(1, 3, 32, 32)]),
    "cbam": (Cbam, [(2, 3, 32, 24)]),
    "centernet": (CenterNet, [(1, 3, 32, 32)]),
    "fcos": (Fcos, [(1, 3, 64, 64)]),
    "icnet": (Icnet, [(1, 3, 48, 64)]),
    "vae": (Vae, [(2, 1, 28, 28)]),
    "lka": (Lka, [(1, 3, 64, 64)]),
}
