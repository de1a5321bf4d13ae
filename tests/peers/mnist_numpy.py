"""MNIST by numpy: layers of 784, 128 and 10 units, batches of 50, SGD with momentum 0.9.

Usage: mnist_numpy.py FOLDER EPOCHS
FOLDER has the files of MNIST (idx, compressed or not). Prints the seconds of each epoch of training,
one per line, without reading the files. For one thread, set OMP_NUM_THREADS and
OPENBLAS_NUM_THREADS to 1.
"""

import gzip
import pathlib
import sys
import time

import numpy as np

BATCH, HIDDEN, CLASSES, LEARNING_RATE, MOMENTUM = 50, 128, 10, np.float32(0.1), np.float32(0.9)


def read_idx(folder, name):
    """An idx file of bytes: its last header byte is the number of dimensions."""
    path = pathlib.Path(folder, name)
    data = path.read_bytes() if path.exists() else gzip.open(f"{path}.gz").read()
    dimensions = data[3]
    shape = np.frombuffer(data, ">u4", dimensions, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def initial_parameters(inputs, random):
    """Weights and biases of both layers."""

    def layer(rows, columns):
        limit = np.sqrt(6 / rows)
        weights = random.uniform(-limit, limit, (rows, columns)).astype(np.float32)
        return [weights, np.zeros(columns, np.float32)]

    return layer(inputs, HIDDEN) + layer(HIDDEN, CLASSES)


def gradients(parameters, x, labels):
    """Of the mean cross-entropy of a batch."""
    weights1, bias1, weights2, bias2 = parameters
    hidden = np.maximum(x @ weights1 + bias1, 0)
    scores = hidden @ weights2 + bias2
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    delta = scores / scores.sum(axis=1, keepdims=True)
    delta[np.arange(len(labels)), labels] -= 1
    delta /= len(labels)
    delta1 = (delta @ weights2.T) * (hidden > 0)
    return [x.T @ delta1, delta1.sum(axis=0), hidden.T @ delta, delta.sum(axis=0)]


def train(parameters, velocities, images, labels, order):
    """One epoch."""
    for at in range(0, len(order), BATCH):
        batch = order[at : at + BATCH]
        changes = gradients(parameters, images[batch], labels[batch])
        for parameter, velocity, change in zip(parameters, velocities, changes):
            velocity *= MOMENTUM
            velocity += change
            parameter -= LEARNING_RATE * velocity


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: mnist_numpy.py FOLDER EPOCHS")
    folder, epochs = sys.argv[1], int(sys.argv[2])
    images = read_idx(folder, "train-images-idx3-ubyte")
    images = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    labels = read_idx(folder, "train-labels-idx1-ubyte")
    random = np.random.default_rng(0)
    parameters = initial_parameters(images.shape[1], random)
    velocities = [np.zeros_like(parameter) for parameter in parameters]
    for _ in range(epochs):
        start = time.perf_counter()
        train(parameters, velocities, images, labels, random.permutation(len(images)))
        print(f"{time.perf_counter() - start:.6f}", flush=True)


main()
