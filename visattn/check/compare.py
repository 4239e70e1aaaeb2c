"""An answer against what is right: error over bound, element by element.

    worst = compare(got, within)            # ≤ 1: honest arithmetic gives this; infinite: not a number, or no number
"""

from typing import NamedTuple

import numpy as np

from visattn.check.tolerance import Within

LEAST = 5e-324              # a bound of zero, for a division


class Compared(NamedTuple):
    """How one array compares."""

    ratio: np.ndarray           # |got - value| / bound, element by element; 0 where nothing can be said
    worst: float                # the largest
    range: bool                 # somewhere infinite, or not a number, where the value is finite
    judged: float               # the share of elements of which something can be said


def compare(got: np.ndarray, wanted: Within) -> Compared:
    """Element by element.  Where the value is not finite, `got` must be the same: NaN, or that infinity."""
    got, value, bound = np.asarray(got, float), wanted.value, wanted.error
    with np.errstate(all="ignore"):
        off = np.abs(got - value)
        ratio = off / np.fmax(bound, LEAST)
        if np.isfinite(off).all():
            return Compared(ratio, float(ratio.max(initial=0.0)), False, _share(np.isfinite(bound)))
        same = (got == value) | (np.isnan(got) & np.isnan(value))
        ratio = np.where(same, 0.0, np.where(np.isfinite(off), ratio, np.inf))
    ratio = np.where(np.isinf(bound), 0.0, ratio)
    broken = bool((np.isfinite(value) & ~np.isfinite(got) & np.isfinite(bound)).any())
    return Compared(ratio, float(ratio.max(initial=0.0)), broken, _share(np.isfinite(bound)))


def _share(known: np.ndarray) -> float:
    return float(known.mean()) if known.size else 1.0
