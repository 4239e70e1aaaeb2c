"""A small residual network whose blocks end in a gate: squeeze-and-excitation, CBAM, or none to compare with.

    h = δ(BN(conv x))               the stem, 3 × 3
    h = block(h), L times           see residual_block; a block that changes the number of channels halves the image
    y = W mean_hw h + b

Hu, Shen & Sun, "Squeeze-and-Excitation Networks", CVPR 2018; Woo et al., "CBAM", ECCV 2018: both put their gates into
residual networks so.  The weights it gave are `cache.blocks[l].gate`, what the last block saw is `cache.features`.

Running statistics are the caller's, for operators are pure: after each step
`running = update(running, cache.stats)`, and at inference `forward(x, p, running=running)`.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from visattn import ops, tree
from visattn.models import residual_block
from visattn.models.encoder_block import perturbed
from visattn.models.residual_block import Layer, Moments, init_layer, layer, layer_backward, moments
from visattn.ops._contract import Array, Float, checked, require
from visattn.ops.primitives import linear


class Stats(NamedTuple):
    stem: Moments | None
    blocks: tuple[residual_block.Stats | None, ...]


class Params(NamedTuple):
    stem: Layer
    blocks: tuple[residual_block.Params, ...]
    head: linear.Params


class Cache(NamedTuple):
    features: Float[Array, "N D Ho Wo"]             # of the last block
    stats: Stats                                    # of this batch
    blocks: tuple[residual_block.Cache, ...]        # blocks[l].gate: what the gate of block l kept
    stem: Any
    relu: Any
    pool: Any
    head: Any
    F: Any


def rules(x, p, stride, running):
    require(stride >= 1, "stride", "be at least 1", stride)
    C = p.stem.conv.w.shape[1]
    require(x.shape[1] == C, "x", f"have the {C} channels that p was made for", x.shape[1])
    require(running is None or len(running.blocks) == len(p.blocks), "running",
            f"have statistics of {len(p.blocks)} blocks", running and len(running.blocks))


@checked(rules)
def forward(
    x: Float[Array, "N C H W"],
    p: Params,
    *,
    stride: int = 1,
    running: Stats | None = None,
    F: Any = ops,
) -> tuple[Float[Array, "N O"], Cache]:
    """y (N, O): scores of O classes.

    stride    of the stem
    running   statistics for inference, as `update` keeps them; None takes those of the batch
    F         where the operators come from
    """
    given = running or Stats(None, (None,) * len(p.blocks))
    h, stem = layer(F, x, p.stem, given.stem, stride)
    h, relu = F.relu.forward(h)
    blocks = []
    for block, its in zip(p.blocks, given.blocks, strict=True):
        h, cache = residual_block.forward(h, block, running=its, F=F)
        blocks.append(cache)                                    # (N, D, Ho, Wo)
    z, pool = F.global_average_pool2d.forward(h)                # (N, D)
    y, head = F.linear.forward(z, *p.head)                      # (N, O)
    stats = Stats(moments(stem), tuple(block.stats for block in blocks))
    return y, Cache(h, stats, tuple(blocks), stem, relu, pool, head, F)


@checked
def backward(dy: Float[Array, "N O"], cache: Cache) -> tuple[Array, Params]:
    """forward, read from its last line to its first: head, pool, blocks from the last to the first, stem."""
    F = cache.F
    dz, *dhead = F.linear.backward(dy, cache.head)
    dh, = F.global_average_pool2d.backward(dz, cache.pool)
    dblocks = []
    for block in cache.blocks[::-1]:
        dh, dblock = residual_block.backward(dh, block)
        dblocks.append(dblock)
    dh, = F.relu.backward(dh, cache.relu)
    dx, dstem = layer_backward(F, dh, cache.stem)
    return dx, Params(dstem, tuple(dblocks[::-1]), linear.Params(*dhead))


def update(running, stats, momentum=0.1):
    """Running statistics after one more batch: (1 - momentum) of what they were, and the batch's share."""
    return tree.map(lambda r, s: (1 - momentum) * r + momentum * s, running, stats)


def start(p):
    """Running statistics before the first batch: mean 0, variance 1."""

    def of(part):
        return None if part is None else Moments(np.zeros_like(part.norm.b), np.ones_like(part.norm.b))

    return Stats(of(p.stem), tuple(residual_block.Stats(of(b.first), of(b.second), of(b.shortcut)) for b in p.blocks))


def init(rng, channels, O, C=1, gate="none", r=4):
    """For images of C channels: a stem of channels[0], a block for each of channels[1:], O classes."""
    blocks = tuple(residual_block.init(rng, *pair, gate, r) for pair in pairwise(channels))
    return Params(init_layer(rng, C, channels[0], 3), blocks, linear.init(rng, channels[-1], O))


def example(rng):
    N, C, H, W, O = 2, 3, 5, 4, 5
    p = perturbed(init(rng, (3, 3, 4), O, C, "squeeze_excite", r=2), rng)
    return (rng.normal(size=(N, C, H, W)), p), {}
