"""Mean squared error of pictures rebuilt from their first principal components: what an auto-encoder stands beside.

    pip install numpy
    python tests/peers/pca.py FOLDER_OF_MNIST 32
    python tests/peers/pca.py examples/data/digits.csv.gz 8

Components and mean are those of the training pictures, the error is over the pixels (0 to 1) of the test pictures. Digits of
8 x 8: `cnnc` holds out a fifth by a draw of its own; here it is the mean over five fifths, each held out once.
"""

import gzip
import pathlib
import sys

import numpy as np


def idx(folder, name):
    for path, opened in [(folder / name, open), (folder / f"{name}.gz", gzip.open)]:
        if path.is_file():
            with opened(path, "rb") as file:
                return np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 784) / 255.0
    sys.exit(f"{name} is not in {folder}")


def error(train, test, size):
    mean = train.mean(0)
    # Columns are eigenvectors of the covariance, the greatest eigenvalue last.
    _, vectors = np.linalg.eigh((train - mean).T @ (train - mean))
    basis = vectors[:, -size:]
    rebuilt = (test - mean) @ basis @ basis.T + mean
    return np.mean((rebuilt - test) ** 2), np.mean((mean - test) ** 2)


def main(path, size):
    path = pathlib.Path(path)
    if path.is_dir():
        pca, mean = error(idx(path, "train-images-idx3-ubyte"), idx(path, "t10k-images-idx3-ubyte"), size)
    else:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",")[:, :64] / 16.0
        fifth = np.random.default_rng(0).permutation(len(table)) % 5
        rows = [error(table[fifth != i], table[fifth == i], size) for i in range(5)]
        pca, mean = np.mean(rows, 0)
    print(f"{size} components: mse {pca:.5f}; the mean picture alone: {mean:.5f}")


main(sys.argv[1], int(sys.argv[2]))
