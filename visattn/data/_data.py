"""What a loader returns."""

import hashlib
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Split(NamedTuple):
    x: Array                             # (N, C, H, W) float32 in [0, 1]
    labels: Array                        # (N,) int64


class Data(NamedTuple):
    name: str
    train: Split
    test: Split                          # held out: seen by no training
    classes: tuple[str, ...]
    attribution: str


def checksum(*arrays: Array) -> str:
    """SHA-256 of the bytes of some arrays, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def split(images: Array, labels: Array, held_out: Array) -> tuple[Split, Split]:
    """(training set, test set) of uint8-like images (N, H, W), whose largest value becomes 1."""
    x = (images / images.max()).astype(np.float32)[:, None]
    labels = labels.astype(np.int64)
    return Split(x[~held_out], labels[~held_out]), Split(x[held_out], labels[held_out])


def every_fifth(labels: Array) -> Array:
    """(N,) boolean: the fifth, tenth, … of every class, in the order in which the images come."""
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        held_out[np.flatnonzero(labels == label)[4::5]] = True
    return held_out


def last(labels: Array, count: int) -> Array:
    """(N,) boolean: the last `count` of every class."""
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        held_out[np.flatnonzero(labels == label)[-count:]] = True
    return held_out
