"""CBAM: what to look at, then where: a gate per channel, then a gate per pixel.

Woo, Park, Lee & Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018, eqs. (2) and (3).

    z = M_c(x) ⊙ x                              `channel_gate`      (2)
    y = M_s(z) ⊙ z                              `spatial_gate`      (3)

In a residual network it stands at the end of a branch, before the shortcut is added; it adds none itself.
"""

from typing import Literal, NamedTuple

from visattn.ops._contract import Array, Float, checked
from visattn.ops.gates import channel_gate, spatial_gate


class Params(NamedTuple):
    w1: Float[Array, "M C"]
    w2: Float[Array, "C M"]
    w: Float[Array, "1 2 Kh Kw"]


class Cache(NamedTuple):
    x: Float[Array, "N C H W"]
    channel: channel_gate.Cache                     # channel.s (N, C): the gates of the channels
    spatial: spatial_gate.Cache                     # spatial.s (N, 1, H, W): the gates of the pixels


@checked(spatial_gate.rules)
def forward(
    x: Float[Array, "N C H W"],
    w1: Float[Array, "M C"],
    w2: Float[Array, "C M"],
    w: Float[Array, "1 2 Kh Kw"],
    *,
    ties: Literal["first", "even"] = "first",
) -> tuple[Float[Array, "N C H W"], Cache]:
    """y (N, C, H, W): x scaled by a gate for its channel and a gate for its pixel.

    x       feature map                                         paper: F
    w1, w2  of `channel_gate`                                   paper: W₀, W₁
    w       of `spatial_gate`                                   paper: f
    ties    "first" or "even": which of several largest elements take part in the gradient
    y                                                           paper: F″
    """
    z, channel = channel_gate.forward(x, w1, w2, ties=ties)     # (N, C, H, W)      (2)
    y, spatial = spatial_gate.forward(z, w, ties=ties)          # (N, C, H, W)      (3)
    return y, Cache(x, channel, spatial)


@checked
def backward(dy: Float[Array, "N C H W"], cache: Cache) -> tuple[Array, ...]:
    """forward, read from its last line to its first."""
    dz, dw = spatial_gate.backward(dy, cache.spatial)
    dx, dw1, dw2 = channel_gate.backward(dz, cache.channel)
    return dx, dw1, dw2, dw


def init(rng, C, r=16, kernel=7):
    """He-normal weights (He et al. 2015) for C channels, reduction ratio r, and a kernel of this many rows."""
    return Params(*channel_gate.init(rng, C, r), *spatial_gate.init(rng, kernel))


def example(rng):
    N, C, H, W = 2, 6, 4, 5
    return (rng.normal(size=(N, C, H, W)), *channel_gate.init(rng, C, r=2), rng.normal(size=(1, 2, 3, 5))), {}
