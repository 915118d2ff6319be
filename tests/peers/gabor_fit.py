"""Fits a Gabor function to each kernel of a first layer, and says how many are oriented.

    pip install numpy
    python tests/peers/gabor_fit.py PATCHES.train/weights.safetensors first.weight [MOSAIC.png]

A kernel `w(y, x)` of one channel is fitted by

    a exp(-(u/s)^2 / 2 - (v/t)^2 / 2) cos(2 pi f u + p),   u, v: the axes turned by an angle about a centre

(equations 9.16 to 9.18 of "Deep Learning") with Levenberg and Marquardt's method from the strongest waves of its spectrum;
r^2 is the share of the kernel's energy about its mean that the best fit holds. The selectivity of orientation is that of
V1's physiology: 1 - circular variance over the spectrum's energy, `|sum E(k) exp(2 i angle(k))| / sum E(k)`: 0 for a blob, near 1 for
a grating. As a control, white noise of the same size is fitted as well.
"""

import json
import struct
import sys
import zlib

import numpy as np


def read(path, name):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        if name not in header:
            sys.exit(f"{path} has {', '.join(k for k in header if k != '__metadata__')}")
        begin, end = header[name]["data_offsets"]
        blob = file.read()[begin:end]
    data = np.frombuffer(blob, np.float32).reshape(header[name]["shape"])
    return data.reshape(-1, *data.shape[-2:]).astype(float)


def gabor(p, y, x):
    """The function and its derivatives by the parameters (a, cy, cx, angle, s, t, f, phase)."""
    a, cy, cx, angle, s, t, f, phase = p
    c, d = np.cos(angle), np.sin(angle)
    u, v = c * (x - cx) + d * (y - cy), -d * (x - cx) + c * (y - cy)
    hull = np.exp(-((u / s) ** 2) / 2 - (v / t) ** 2 / 2)
    wave = np.cos(2 * np.pi * f * u + phase)
    sine = np.sin(2 * np.pi * f * u + phase)
    by_u = -a * hull * (u / s**2 * wave + 2 * np.pi * f * sine)
    by_v = -a * hull * v / t**2 * wave
    slopes = [
        hull * wave,
        -d * by_u - c * by_v,
        -c * by_u + d * by_v,
        v * by_u - u * by_v,
        a * hull * wave * u**2 / s**3,
        a * hull * wave * v**2 / t**3,
        -a * hull * sine * 2 * np.pi * u,
        -a * hull * sine,
    ]
    return a * hull * wave, np.stack([g.ravel() for g in slopes], 1)


def fit(kernel):
    """The best fit's r^2 and parameters."""
    kernel = kernel - kernel.mean()
    n = kernel.shape[0]
    y, x = np.mgrid[:n, : kernel.shape[1]].astype(float)
    total = np.sum(kernel**2)
    if total < 1e-20:  # weight decay left nothing of it
        return 0.0, None
    kernel, total = kernel / np.sqrt(total), 1.0
    big = 64
    spectrum = np.abs(np.fft.fft2(kernel, (big, big)))
    order = np.argsort(-spectrum[: big // 2].ravel())
    waves, starts = [], []
    for at in order:
        ky, kx = divmod(at, big)
        ky, kx = ky / big, (kx if kx < big // 2 else kx - big) / big
        if all(np.hypot(ky - a, kx - b) > 0.06 for a, b in waves):
            waves.append((ky, kx))
        if len(waves) == 3:
            break
    mass = kernel**2 / total
    cy, cx = np.sum(mass * y), np.sum(mass * x)
    for ky, kx in waves:
        for size in (0.12 * n, 0.25 * n):
            for phase in (0.0, np.pi / 2):
                frequency = max(np.hypot(ky, kx), 0.02)
                starts.append([np.abs(kernel).max(), cy, cx, np.arctan2(ky, kx), size, size, frequency, phase])
    best, found = -1.0, None
    for start in starts:
        p, damping = np.array(start), 1e-2
        value, slopes = gabor(p, y, x)
        error = np.sum((kernel - value) ** 2)
        for _ in range(80):
            rest = (kernel - value).ravel()
            normal = slopes.T @ slopes
            ridge = np.diag(np.diag(normal) + 1e-6 * np.trace(normal))
            step = np.linalg.lstsq(normal + damping * ridge, slopes.T @ rest, rcond=None)[0]
            new = p + step
            # A centre far outside, hulls narrower than half a pixel, and waves beyond what pixels can show, are no fits.
            new[1:3] = np.clip(new[1:3], -0.5 * n, 1.5 * n)
            new[4:6] = np.clip(np.abs(new[4:6]), 0.5, 3 * n)
            new[6] = np.clip(new[6], 0.0, 0.5)
            tried, new_slopes = gabor(new, y, x)
            new_error = np.sum((kernel - tried) ** 2)
            if new_error < error:
                done = error - new_error < 1e-9 * total
                p, value, slopes, error, damping = new, tried, new_slopes, new_error, damping / 3
                if done:
                    break
            else:
                damping *= 4
                if damping > 1e8:
                    break
        if 1 - error / total > best:
            best, found = 1 - error / total, p
    return best, found


def selectivity(kernel):
    n = 64
    energy = np.abs(np.fft.fft2(kernel - kernel.mean(), (n, n))) ** 2
    k = np.fft.fftfreq(n)
    angle = np.arctan2(k[:, None], k[None, :])
    return np.abs(np.sum(energy * np.exp(2j * angle))) / max(np.sum(energy), 1e-30)


def figures(name, kernels):
    fits = [fit(k) for k in kernels]
    r2 = np.array([f[0] for f in fits])
    osi = np.array([selectivity(k) for k in kernels])
    print(
        f"{name}: {len(kernels)} kernels; r^2 of a Gabor function: median {np.median(r2):.3f}, "
        f">= 0.8: {np.mean(r2 >= 0.8):.0%}, >= 0.7: {np.mean(r2 >= 0.7):.0%}, >= 0.5: {np.mean(r2 >= 0.5):.0%}; "
        f"selectivity of orientation: median {np.median(osi):.2f}, >= 0.5: {np.mean(osi >= 0.5):.0%}"
    )
    return fits


def mosaic(path, kernels, scale=5, gap=1):
    """Gray pictures side by side, each scaled so that 0 is middle gray."""
    columns = int(np.ceil(np.sqrt(len(kernels))))
    h, w = kernels.shape[1] + gap, kernels.shape[2] + gap
    rows = -(-len(kernels) // columns)
    image = np.full((rows * h + gap, columns * w + gap), 255.0)
    for i, kernel in enumerate(kernels):
        top, left = (i // columns) * h + gap, (i % columns) * w + gap
        image[top : top + h - gap, left : left + w - gap] = 127.5 + 127.5 * kernel / max(np.abs(kernel).max(), 1e-30)
    image = np.kron(np.clip(image, 0, 255).astype(np.uint8), np.ones((scale, scale), np.uint8))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, 0, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)))
        file.write(chunk(b"IEND", b""))


def main(path, name, picture=None):
    kernels = read(path, name)
    fits = figures(name, kernels)
    figures("white noise", np.random.default_rng(0).standard_normal(kernels.shape))
    good = [p for r2, p in fits if r2 >= 0.5]
    eighths = np.bincount([int(p[3] % np.pi / np.pi * 8) % 8 for p in good], minlength=8)
    frequencies = sorted(p[6] for p in good)
    print(f"orientations of those >= 0.5, in eighths of 180 degrees: {' '.join(map(str, eighths))}")
    if frequencies:
        print(f"frequencies: {frequencies[0]:.2f} to {frequencies[-1]:.2f} of a pixel, median {np.median(frequencies):.2f}")
    if picture:
        mosaic(picture, kernels)


main(*sys.argv[1:])
