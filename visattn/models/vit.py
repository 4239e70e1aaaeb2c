"""The vision transformer: an image as a sequence of patches, and a token that reads it.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, eqs. (1)-(4).

    z = [cls; x₁E; …; x_P E] + pos          a class token before the P patches, and where each of them is   (1)
    z = block(z), L times                   see encoder_block                                           (2)-(3)
    y = head(LN(z₀))                        the class token, after all it has seen                          (4)

What every token looked at is in the cache: `cache.blocks[l].p[n, g, t, s]` is the weight that head g of layer
l gives, in image n, to token s when token t asks.  Token 0 is the class token, token 1 + i the i-th patch by rows.
"""

from typing import Any, NamedTuple

import numpy as np

from visattn import ops
from visattn.models import encoder_block
from visattn.models.encoder_block import perturbed
from visattn.ops._contract import Array, Float, checked, require
from visattn.ops.primitives import layernorm, linear


class Params(NamedTuple):
    embed: linear.Params                            # E
    cls: Float[Array, "D"]
    pos: Float[Array, "T D"]
    blocks: tuple[encoder_block.Params, ...]
    norm: layernorm.Params
    head: linear.Params


class Cache(NamedTuple):
    blocks: tuple[encoder_block.Cache, ...]         # blocks[l].p: the maps of layer l
    embed: Any
    norm: Any
    head: Any
    image: tuple[int, ...]
    patch: tuple[int, int]
    F: Any


def rules(x, p, patch, heads):
    size = both(patch)
    require(min(size) >= 1, "patch", "be at least 1", patch)
    H, W = x.shape[2:]
    require(H % size[0] == 0 and W % size[1] == 0, "patch", f"divide the {H} rows and {W} columns of x", patch)
    T, features = 1 + (H // size[0]) * (W // size[1]), x.shape[1] * size[0] * size[1]
    require(len(p.pos) == T, "p.pos", f"have {T} positions: the class token, and a patch each", len(p.pos))
    require(p.embed.w.shape[1] == features, "p.embed.w", f"take the {features} values of a patch", p.embed.w.shape[1])
    for block in p.blocks:
        require(heads >= 1 and len(block.msa.w_q) % heads == 0, "heads", f"divide {len(block.msa.w_q)} features", heads)


@checked(rules)
def forward(
    x: Float[Array, "N C H W"],
    p: Params,
    *,
    patch: int | tuple[int, int],
    heads: int,
    F: Any = ops,
) -> tuple[Float[Array, "N O"], Cache]:
    """y (N, O): scores of O classes.

    patch   rows and columns of a patch; one number where they are equal
    heads   attentions side by side in every block
    F       where the operators come from
    """
    size = both(patch)
    z, embed = F.linear.forward(patches(x, size), *p.embed)     # (N, P, D)
    cls = np.zeros_like(z[:, :1]) + p.cls                       # (N, 1, D)
    z = np.concatenate([cls, z], axis=1) + p.pos                # (N, T, D)            (1)
    blocks = []
    for block in p.blocks:
        z, cache = encoder_block.forward(z, block, heads=heads, F=F)
        blocks.append(cache)                                    # (N, T, D)        (2)-(3)
    n, norm = F.layernorm.forward(z[:, 0], *p.norm)             # (N, D)               (4)
    y, head = F.linear.forward(n, *p.head)                      # (N, O)
    return y, Cache(tuple(blocks), embed, norm, head, x.shape, size, F)


@checked
def backward(dy: Float[Array, "N O"], cache: Cache) -> tuple[Array, Params]:
    """forward, read from its last line to its first.

        y = head(LN(z₀))        dz₀ by head and LN; the other tokens of the last layer reach y by no other way: 0
        z = block(z)            dz by encoder_block, from the last block to the first
        z = [cls; x E] + pos    dpos = Σ_n dz,  dcls = Σ_n dz₀,  and the patches' share to E
        x cut into patches      put together again
    """
    F, (N, _, H, W), (Ph, Pw) = cache.F, cache.image, cache.patch
    dn, *dhead = F.linear.backward(dy, cache.head)
    dz0, *dnorm = F.layernorm.backward(dn, cache.norm)          # (N, D)
    T = 1 + (H // Ph) * (W // Pw)
    dz = np.zeros_like(dz0, shape=(N, T, dz0.shape[-1]))
    dz[:, 0] = dz0
    dblocks = []
    for block in cache.blocks[::-1]:
        dz, dblock = encoder_block.backward(dz, block)          # (N, T, D)
        dblocks.append(dblock)
    dpatches, *dembed = F.linear.backward(dz[:, 1:], cache.embed)
    dx = image(dpatches, cache.image, cache.patch)              # (N, C, H, W)
    return dx, Params(linear.Params(*dembed), dz[:, 0].sum(0), dz.sum(0), tuple(dblocks[::-1]),
                      layernorm.Params(*dnorm), linear.Params(*dhead))


def patches(x, patch):
    """(N, C, H, W) to (N, P, C·Ph·Pw): the tiles, by rows; the values of one in the order (c, row, column)."""
    (N, C, H, W), (Ph, Pw) = x.shape, patch
    tiles = x.reshape(N, C, H // Ph, Ph, W // Pw, Pw).transpose(0, 2, 4, 1, 3, 5)
    return tiles.reshape(N, (H // Ph) * (W // Pw), C * Ph * Pw)


def image(tiles, shape, patch):
    """patches, undone: it only moved numbers, so this is its inverse and its transpose."""
    (N, C, H, W), (Ph, Pw) = shape, patch
    return tiles.reshape(N, H // Ph, W // Pw, C, Ph, Pw).transpose(0, 3, 1, 4, 2, 5).reshape(shape)


def both(patch):
    """(rows, columns) of a patch."""
    return patch if isinstance(patch, tuple) else (patch, patch)


def init(rng, size, patch, D, heads, L, O, C=1, M=None):
    """For images of C channels and `size` = (H, W), or one number: D features, L blocks of `heads` heads, O classes.

    Positions and class token are small (0.02), so that at first every patch counts for what it holds; the head
    starts at 0, as in the authors' code, so that at first all classes are equally likely.
    """
    (H, W), (Ph, Pw) = both(size), both(patch)
    require(H % Ph == 0 and W % Pw == 0, "patch", f"divide the {H} rows and {W} columns of an image", patch)
    P = (H // Ph) * (W // Pw)
    blocks = tuple(encoder_block.init(rng, D, heads, M) for _ in range(L))
    return Params(linear.init(rng, C * Ph * Pw, D), rng.normal(0, 0.02, D), rng.normal(0, 0.02, (1 + P, D)), blocks,
                  layernorm.init(rng, D), linear.Params(np.zeros((O, D)), np.zeros(O)))


def example(rng):
    N, C, H, W, patch, D, G, L, O, M = 2, 3, 4, 6, (2, 3), 8, 2, 2, 5, 7
    p = init(rng, (H, W), patch, D, G, L, O, C, M)
    return (rng.normal(size=(N, C, H, W)), perturbed(p, rng)), {"patch": patch, "heads": G}
