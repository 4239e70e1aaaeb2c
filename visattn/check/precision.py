"""Precisions: what one rounding costs in each, and where numbers end.

    stored       u of a number written to memory in this precision: half the distance from 1 to the next
    operand      u of an operand of a matrix product, coarser than stored for tf32
    accumulate   u of the running sum of a reduction: float32 or better on all current hardware
    tiny         the smallest normal number; what lies below may be flushed to zero
    largest      the largest finite number
"""

import math
from typing import NamedTuple

import numpy as np


class Precision(NamedTuple):
    name: str
    dtype: str                  # of the arrays that are passed: tf32 is computed on float32
    stored: float
    operand: float
    accumulate: float
    tiny: float
    largest: float

    @property
    def log_max(self) -> float:
        """The largest x whose exponential is finite: 11.1, 88.7, 709.8."""
        return math.log(self.largest)

    def accumulating(self, unit: float) -> "Precision":
        """The same, with sums kept at another unit roundoff."""
        return self._replace(accumulate=unit)


TINY32, LARGEST32 = 2.0**-126, (2 - 2.0**-23) * 2.0**127
PRECISIONS = {p.name: p for p in (
    Precision("float64", "float64", 2.0**-53, 2.0**-53, 2.0**-53, 2.0**-1022, (2 - 2.0**-52) * 2.0**1023),
    Precision("float32", "float32", 2.0**-24, 2.0**-24, 2.0**-24, TINY32, LARGEST32),
    Precision("tf32", "float32", 2.0**-24, 2.0**-10, 2.0**-24, TINY32, LARGEST32),
    Precision("float16", "float16", 2.0**-11, 2.0**-11, 2.0**-24, 2.0**-14, 65504.0),
    Precision("bfloat16", "bfloat16", 2.0**-8, 2.0**-8, 2.0**-24, TINY32, (2 - 2.0**-7) * 2.0**127),
)}
FINEST_FIRST = ("float64", "float32", "tf32", "float16", "bfloat16")


def precision(name: "str | Precision") -> Precision:
    """The precision of this name; ValueError names those there are."""
    if isinstance(name, Precision):
        return name
    if name not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {name!r}")
    return PRECISIONS[name]


def nearest(a: np.ndarray, p: Precision) -> np.ndarray:
    """The nearest numbers of a precision; ties to even."""
    if p.dtype != "bfloat16":
        return np.asarray(a, p.dtype).astype(float)
    bits = np.asarray(a, np.float32).view(np.uint32).astype(np.uint64)
    bits += 0x7FFF + ((bits >> 16) & 1)
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(float)
