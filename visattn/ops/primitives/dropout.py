"""Dropout: some elements are dropped, the others scaled so that the mean over all masks is x.

Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014.

    y = m ⊙ x / (1 - rate)

Nothing is drawn here: the mask comes in, `mask = rng.random(x.shape) >= rate`, so the same call gives the same answer.
Differs from the paper: scaled in training ("inverted"), as in every library, so that at test time nothing is done.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Bool, Float, checked, require


class Cache(NamedTuple):
    y: Float[Array, "*B"]
    mask: Bool[Array, "*#B"]
    rate: float


def rules(rate):
    require(0 <= rate < 1, "rate", "be at least 0 and below 1", rate)


@checked(rules)
def forward(
    x: Float[Array, "*B"], *, mask: Bool[Array, "*#B"], rate: float
) -> tuple[Float[Array, "*B"], Cache]:
    """y (*B).

    mask    True = kept, broadcast against x: (N, C, 1, 1) drops whole channels, (N, 1, 1) whole examples
    rate    the probability with which each was dropped
    """
    y = np.where(mask, x / (1 - rate), 0)
    return y, Cache(y, mask, rate)


@checked
def backward(dy: Float[Array, "*B"], cache: Cache) -> tuple[Array, ...]:
    """The same mask and the same scale:  dx = m ⊙ dy / (1 - rate)."""
    _, mask, rate = cache
    return (np.where(mask, dy / (1 - rate), 0),)


def example(rng):
    return (rng.normal(size=(2, 3, 5)),), {"mask": rng.random((2, 3, 5)) >= 0.3, "rate": 0.3}
