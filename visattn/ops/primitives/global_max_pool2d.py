"""Global max pooling: one number for each channel, its largest pixel.

    y = max_hw x

A pixel that wins takes the whole gradient.  Of several that are equally large, `ties="first"` gives it to the first
in reading order, as PyTorch's max over an axis and its pooling do, and `ties="even"` an equal part to each, as its
`amax` does.  After a ReLU this is the normal case: a channel of zeros is one tie.  A NaN is larger than any number.
"""

from typing import Literal, NamedTuple

from visattn.ops._contract import Array, Bool, Float, checked
from visattn.ops._ties import largest, share


class Cache(NamedTuple):
    y: Float[Array, "N C"]
    wins: Bool[Array, "N C H W"]                    # the pixels that the gradient goes to


@checked
def forward(
    x: Float[Array, "N C H W"], *, ties: Literal["first", "even"] = "first"
) -> tuple[Float[Array, "N C"], Cache]:
    """y (N, C): the largest pixel of each channel.

    ties  "first" or "even": which of several largest pixels take part in the gradient
    """
    N, C, H, W = x.shape
    y, wins = largest(x.reshape(N, C, H * W), 2, ties)          # (N, C)
    return y, Cache(y, wins.reshape(N, C, H, W))


@checked
def backward(dy: Float[Array, "N C"], cache: Cache) -> tuple[Array, ...]:
    """dx = dy / (number of winners) where a pixel wins, 0 elsewhere."""
    _, wins = cache
    return (share(dy, wins, axis=(2, 3)),)


def example(rng):
    return (rng.normal(size=(2, 3, 4, 5)),), {"ties": "even"}
