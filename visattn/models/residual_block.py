"""The residual block, with a gate before the shortcut: what the block adds, weighed by what the gate attends to.

He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016; the gate stands where Hu et al. (CVPR
2018) put squeeze-and-excitation, and Woo et al. (ECCV 2018) CBAM.

    h = δ(BN(conv x))               3 × 3, of stride 2 where the shortcut has weights
    f = BN(conv h)                  3 × 3
    s = x, or BN(conv x)            1 × 1 of stride 2, where the shape changes
    y = δ(gate(f) + s)              δ = ReLU

Which gate it is, the weights say: `p.gate` is squeeze_excite.Params, cbam.Params or None.

The operators are pure, so running statistics are the caller's: `cache.stats` has those of the batch, and `running`
takes others in their place.
"""

from typing import Any, NamedTuple

from visattn import ops
from visattn.models.encoder_block import perturbed
from visattn.ops._contract import Array, Float, checked, require
from visattn.ops.gates import cbam, squeeze_excite
from visattn.ops.primitives import batchnorm, conv2d

GATES: dict[str, Any] = {"none": None, "squeeze_excite": squeeze_excite, "cbam": cbam}


class Layer(NamedTuple):
    """A convolution and its normalisation."""

    conv: conv2d.Params
    norm: batchnorm.Params


class Moments(NamedTuple):
    """What a normalisation takes from a batch, or instead of it."""

    mean: Float[Array, "C"]
    var: Float[Array, "C"]


class Stats(NamedTuple):
    """None stands for the batch's own, or for no shortcut."""

    first: Moments | None
    second: Moments | None
    shortcut: Moments | None


class Params(NamedTuple):
    first: Layer
    second: Layer
    gate: squeeze_excite.Params | cbam.Params | None
    shortcut: Layer | None


class Cache(NamedTuple):
    stats: Stats                                    # of this batch
    gate: Any                                       # squeeze_excite.Cache, cbam.Cache or None: the weights it gave
    first: Any
    relu1: Any
    second: Any
    shortcut: Any
    relu2: Any
    F: Any


def rules(x, p):
    O, C = p.first.conv.w.shape[:2]
    require(x.shape[1] == C, "x", f"have the {C} channels that p was made for", x.shape[1])
    require(p.shortcut is not None or C == O, "p.shortcut", f"have weights: {C} channels become {O}", "None")


@checked(rules)
def forward(
    x: Float[Array, "N C H W"],
    p: Params,
    *,
    running: Stats | None = None,
    F: Any = ops,
) -> tuple[Float[Array, "N O Ho Wo"], Cache]:
    """y (N, O, Ho, Wo): half as many rows and columns where the shortcut has weights.

    running   mean and variance of every normalisation, for inference; None takes the batch's
    F         where the operators come from
    """
    stride, given = (1, 2)[p.shortcut is not None], running or Stats(None, None, None)
    h, first = layer(F, x, p.first, given.first, stride)        # (N, O, Ho, Wo)
    h, relu1 = F.relu.forward(h)
    f, second = layer(F, h, p.second, given.second)             # (N, O, Ho, Wo)
    g, gate = gate_of(F, p.gate).forward(f, *p.gate) if p.gate else (f, None)
    s, shortcut = layer(F, x, p.shortcut, given.shortcut, stride) if p.shortcut else (x, None)
    y, relu2 = F.relu.forward(g + s)                            # (N, O, Ho, Wo)
    stats = Stats(moments(first), moments(second), moments(shortcut) if shortcut else None)
    return y, Cache(stats, gate, first, relu1, second, shortcut, relu2, F)


@checked
def backward(dy: Float[Array, "N O Ho Wo"], cache: Cache) -> tuple[Array, Params]:
    """forward, read from its last line to its first.

        y = δ(gate(f) + s)      dg = ds, by relu; df by the gate
        s = x, or BN(conv x)    dx = ds, or by the layer
        f = BN(conv h)          dh by the layer
        h = δ(BN(conv x))       dx += …         x fed the layer and the shortcut
    """
    F = cache.F
    dg, = F.relu.backward(dy, cache.relu2)
    dx, dshortcut = layer_backward(F, dg, cache.shortcut) if cache.shortcut else (dg, None)
    df, *dgate = gate_of(F, cache.gate).backward(dg, cache.gate) if cache.gate else (dg,)
    dh, dsecond = layer_backward(F, df, cache.second)
    dh, = F.relu.backward(dh, cache.relu1)
    dx_first, dfirst = layer_backward(F, dh, cache.first)
    dgate = gate_of(ops, cache.gate).Params(*dgate) if cache.gate else None
    return dx + dx_first, Params(dfirst, dsecond, dgate, dshortcut)


def layer(F, x, p, given=None, stride=1):
    """BN(conv x): an odd kernel, padded so that with stride 1 the image keeps its size."""
    y, conv = F.conv2d.forward(x, *p.conv, stride=stride, padding=p.conv.w.shape[-1] // 2)
    y, norm = F.batchnorm.forward(y, *p.norm, **(given._asdict() if given else {}))
    return y, (conv, norm)


def layer_backward(F, dy, cache):
    conv, norm = cache
    dy, *dnorm = F.batchnorm.backward(dy, norm)
    dx, *dconv = F.conv2d.backward(dy, conv)
    return dx, Layer(conv2d.Params(*dconv), batchnorm.Params(*dnorm))


def moments(cache):
    """Mean and unbiased variance of the batch, as running statistics take them."""
    _, norm = cache
    m = norm.n[:, 0].size
    return Moments(norm.mean, norm.var * (m / max(m - 1, 1)))


def gate_of(F, record):
    """The operator that these Params or this Cache are of."""
    return getattr(F, type(record).__module__.rpartition(".")[2])


def init_layer(rng, C, O, kernel):
    """The normalisation takes the bias's place."""
    return Layer(conv2d.Params(conv2d.init(rng, C, O, kernel).w), batchnorm.init(rng, O))


def init(rng, C, O, gate="none", r=4):
    """C channels to O, with weights in the shortcut where these differ; r is the reduction ratio of the gate."""
    require(gate in GATES, "gate", f"be one of {', '.join(GATES)}", gate)
    return Params(init_layer(rng, C, O, 3), init_layer(rng, O, O, 3),
                  None if GATES[gate] is None else GATES[gate].init(rng, O, r),
                  init_layer(rng, C, O, 1) if C != O else None)


def example(rng):
    N, C, H, W, O = 2, 3, 4, 6, 5
    return (rng.normal(size=(N, C, H, W)), perturbed(init(rng, C, O, "cbam", r=2), rng)), {}
