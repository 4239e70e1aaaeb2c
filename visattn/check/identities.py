"""Laws that need no reference: what holds of an operator at any size, checked in time that grows like its arguments.

    findings = check(ops.attention, call, {"T": 4096, "S": 4096}, "float32", rng)
    consistent(call, args, options, dy)             # {argument: (is it the derivative of that forward?, error)}

Softmax is blind to what all scores of a query share, so Σ_s dk_s = 0; its weights sum to one, so Σ_s dv_s = Σ_t do_t;
scores see only products of q and k, so ⟨q, dq⟩ = ⟨k, dk⟩; a convolution is linear, so ⟨dy, y⟩ = ⟨dx, x⟩ = ⟨dw, w⟩.  A
function that breaks such a law is wrong, whatever its scale and its mask; one that keeps them all may still be another
operator.

How much a law may be missed by is derived, not chosen: rounding in the precision at hand, times the growth of sums of
so many terms, times the norms of what is summed.  The numbers given are sixteenths up to 8, exact in every precision.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from visattn import gradcheck, tree
from visattn.check.precision import Precision
from visattn.check.precision import precision as precision_of
from visattn.check.verdicts import Finding

Call = Callable[[dict[str, Any], dict[str, Any], "list[np.ndarray] | None"], Any]
Laws = Iterator["Finding | None"]

SIZES = {"N": 2, "G": 2, "T": 24, "S": 32, "D": 8, "E": 12, "C": 6, "H": 10, "W": 13, "O": 5, "M": 4, "V": 9}
EPS = 2.0 ** -10            # no library's ε is larger
PAIRS_MASKED = 1 << 22      # pairs of a query and a key up to which a mask of them is made


class Unanswered(Exception):
    """The function did not answer this question."""


class Asked:
    """The function, its sizes, and how far it may stray."""

    def __init__(self, name: str, call: Call, sizes: dict[str, int], precision: Precision, rng: Any) -> None:
        self.name, self.call, self.sizes, self.precision, self.rng = name, call, sizes, precision, rng

    def normal(self, *shape: int, mean: float = 0.0) -> np.ndarray:
        """Random sixteenths between -4 and 4, about `mean`."""
        return np.clip(np.round(16 * (self.rng.normal(size=shape) + mean)) / 16, -4, 4)

    def __call__(self, args: dict[str, Any], options: dict[str, Any], dy: Any = None) -> Any:
        """(y, {argument: gradient, None where there is none}); no gradients without dy."""
        try:
            answer = self.call(args, options, None if dy is None else [dy])
        except Exception:
            raise Unanswered from None
        if answer is None or answer[0] is None or len(answer[0]) == 0:
            raise Unanswered
        y = np.asarray(answer[0][0], np.float64)
        if dy is None:
            return y, {}
        if y.shape != dy.shape:
            raise Unanswered
        grads = answer[1]
        if grads is None or len(grads) != len(args):
            return y, dict.fromkeys(args)
        return y, {name: None if g is None else np.asarray(g, np.float64) for name, g in zip(args, grads)}

    def unit(self, *lengths: float) -> float:
        """What one result of sums of these lengths, one after the other, may err by, relative to what is summed."""
        p = self.precision
        growth = sum(4 + 2 * math.sqrt(n) + n / 32 for n in lengths)
        return 4 * max(p.stored, p.operand) + growth * p.accumulate

    def law(self, name: str, error: Any, allowed: Any, says: str, broken: str) -> Finding:
        """A finding whose value is the largest error in units of what is allowed."""
        ratio = float(np.max(np.abs(error) / (allowed + self.precision.tiny), initial=0.0))
        fine = ratio <= 1                                       # NaN is not
        missed = f"{says[:-1]}: this is missed by {ratio:.3g} times what rounding allows. "
        return Finding(name, says if fine else f"{missed}{broken[0].upper()}{broken[1:]}.", ratio, fine)


def check(op: ModuleType, call: Call, sizes: dict[str, int] | None = None, precision: "str | Precision" = "float32",
          rng: Any = None) -> list[Finding]:
    """[Finding] of every law that is known of `op`, kept or broken; of an operator of which none is known, none.

    call       call(args, options, dy) is (leaves of y, gradients of the arguments given, or None, as without dy)
    sizes      {letter of an axis: size}, for those that should not be as in SIZES
    precision  in which the function computes

    A law is left out where the function raises or has no gradient.
    """
    name = gradcheck.name_of(op)
    asked = Asked(name, call, SIZES | (sizes or {}), precision_of(precision),
                  np.random.default_rng(0) if rng is None else rng)
    found: list[Finding] = []
    with np.errstate(all="ignore"):
        for laws in LAWS.get(name, ()):
            try:
                found.extend(finding for finding in laws(asked) if finding is not None)
            except (Unanswered, TypeError, ValueError, LookupError):
                continue                                        # what has another shape is judged elsewhere
    return found


def inner(a: np.ndarray, b: np.ndarray, axes: "tuple[int, ...] | None" = None) -> Any:
    """⟨a, b⟩, over some axes."""
    return (a * b).sum(axes)


def norm(a: np.ndarray, axes: Any = None) -> Any:
    return np.sqrt((a * a).sum(axes))


# What is known of the pairs: p has rows that sum to one, and comes from products of q and k alone.


def pairs_laws(f: Asked) -> Laws:
    """The laws of softmax attention, for every mask that leaves each query a key."""
    N, G, T, S, D, E = (f.sizes[a] for a in "NGTSDE")
    Gq = 2 * G if f.name == "grouped_query" else G
    R = Gq // G
    masks: list[tuple[str, dict[str, Any]]] = [("", {})]
    if f.name != "additive":
        masks.append((" (causal)", {"causal": "top_left"}))
    if T * S <= PAIRS_MASKED:
        seen = f.rng.random((1, 1, T, S)) < 0.6
        seen[..., 0] = True
        masks.append((" (masked)", {"mask": seen}))
    q, k, v = f.normal(N, Gq, T, D), f.normal(N, G, S, D), f.normal(N, G, S, E, mean=1)
    do = f.normal(N, Gq, T, E, mean=0.5)
    weights = {} if f.name != "additive" else {
        "wa": f.normal(D, D) / 4, "ua": f.normal(D, D) / 4, "va": f.normal(D)}
    scale = scale_of(f) if not weights else 1.0
    # The largest score at most, which an exponential turns from an absolute error into a relative one.
    score = 1 + (float(abs(weights["va"]).sum()) if weights else scale * float(norm(q, -1).max() * norm(k, -1).max()))
    unit = f.unit(D, S, E, T) * score
    top = abs(v).max(-2, keepdims=True)                         # (N, G, 1, E): no mean of values is larger
    for suffix, options in masks:
        try:
            o, grads = f({"q": q, "k": k, "v": v, **weights}, options, do)
        except Unanswered:
            continue
        groups = do.reshape(N, G, R * T, E)
        dk, dv, dq = grads["k"], grads["v"], grads["q"]
        most = norm(v, -1).max(-1)[:, :, None, None]            # ‖v_s‖ ≥ |dp| / ‖do‖
        size = (2 * norm(groups, -1)[..., None] * most)         # (N, G, R·T, 1): Σ_s p |dp - D| at most
        if dv is not None:
            yield f.law(f"Σ dv = Σ do{suffix}", dv.sum(2) - groups.sum(2), unit * abs(groups).sum(2),
                        "The gradients of the values sum to those of the output.",
                        "the weights that give dv do not sum to 1 for each query")
            yield f.law(f"⟨o, do⟩ = ⟨v, dv⟩{suffix}",
                        inner(o.reshape(groups.shape), groups, (2, 3)) - inner(v, dv, (2, 3)),
                        unit * (abs(groups) * top).sum((2, 3)), "⟨o, do⟩ is ⟨v, dv⟩.",
                        "output and dv do not come from the same weights")
        if dk is not None and not weights:
            rows = abs(q).reshape(N, G, R * T, D)
            yield f.law(f"Σ dk = 0{suffix}", dk.sum(2), scale * unit * (rows * size).sum(2),
                        "The gradients of the keys sum to 0.",
                        "da must sum to 0 in each row, da = p (dp - Σ p dp): softmax is blind to what all scores share")
        if dk is not None and dq is not None and not weights:
            allowed = norm(q.reshape(N, G, R * T, D), -1) * size[..., 0] * norm(k, -1).max(-1)[..., None]
            yield f.law(f"⟨q, dq⟩ = ⟨k, dk⟩{suffix}",
                        inner(q, dq, (2, 3)).reshape(N, G, R).sum(2) - inner(k, dk, (2, 3)),
                        scale * unit * allowed.sum(2),
                        "⟨q, dq⟩ is ⟨k, dk⟩.",
                        "dq and dk do not come from the same da, or one lacks the scale, a part of the keys or a head")
        ones, _ = f({"q": q, "k": k, "v": np.ones_like(v), **weights}, options)
        yield f.law(f"ones stay ones{suffix}", ones - 1, unit, "Values of 1 give 1.", "the weights do not sum to 1")
        if not weights:
            c = f.normal(1, 1, 1, D)
            moved, _ = f({"q": q, "k": k + c, "v": v}, options)
            yield f.law(f"k + c{suffix}", moved - o,
                        2 * unit * (1 + scale * float(norm(c) * norm(q, -1).max())) * np.repeat(top, R, 1),
                        "What is added to all keys changes nothing.",
                        "scores that differ by the same number for all keys give other weights")
    order = f.rng.permutation(S)
    o, _ = f({"q": q, "k": k, "v": v, **weights}, {})
    other, _ = f({"q": q, "k": k[:, :, order], "v": v[:, :, order], **weights}, {})
    yield f.law("order of the keys", other - o, 2 * unit * np.repeat(top, R, 1),
                "The order of the keys does not matter.", "some keys are dropped, or count by their place")


def scale_of(f: Asked) -> float:
    """What the function multiplies scores by, asked with one query and two keys; 1 where it does not say."""
    Gq = 2 * f.sizes["G"] if f.name == "grouped_query" else f.sizes["G"]
    q, k = np.zeros((1, Gq, 1, f.sizes["D"])), np.zeros((1, f.sizes["G"], 2, f.sizes["D"]))
    q[..., 0], k[..., 1, 0] = 1, 1
    v = np.zeros((1, f.sizes["G"], 2, f.sizes["E"]))
    v[..., 0, 0] = 1                                            # o is p_0 of both keys
    try:
        p = float(f({"q": q, "k": k, "v": v}, {})[0][0, 0, 0, 0])
        scale = abs(math.log((1 - p) / p))
    except (Unanswered, LookupError, ArithmeticError, ValueError):
        return 1.0
    return scale if scale > 0 else 1.0


def row_laws(f: Asked) -> Laws:
    """softmax and log_softmax along the last axis, and the loss that is made of it."""
    N, V = f.sizes["T"], f.sizes["S"]
    x, dy = f.normal(N, V), f.normal(N, V, mean=0.5)
    if f.name == "cross_entropy":
        _, grads = f({"logits": x}, {"labels": f.rng.integers(V, size=N)}, np.ones(()))
        if grads["logits"] is not None:
            yield f.law("Σ dx = 0", grads["logits"].sum(1), f.unit(V) * 2 / N, "The gradients of a row sum to 0.",
                        "p - t must sum to 0, for p and t each sum to 1")
        return
    unit = f.unit(V) * (1 + 2 * float(abs(x).max()))
    y, grads = f({"x": x}, {}, dy)
    p = np.exp(y) if f.name == "log_softmax" else y
    yield f.law("rows sum to 1", p.sum(1) - 1, unit, "Every row of weights sums to 1.",
                "what is divided by is not the sum of the row")
    if grads["x"] is not None:
        yield f.law("Σ dx = 0", grads["x"].sum(1), unit * 2 * abs(dy).max(1) * (V if f.name == "log_softmax" else 1),
                    "The gradients of a row sum to 0.", "the second term of the gradient, a sum over the row, is wrong")
    moved, _ = f({"x": x + 4}, {})
    yield f.law("x + c", moved - y, 3 * unit * (1 + abs(y)), "What is added to a row changes nothing.",
                "weights must be quotients of exponentials")


def norm_laws(f: Asked) -> Laws:
    """Mean 0, variance 1, and gradients that change neither."""
    N, C, H, W, T, D = (f.sizes[a] for a in "NCHWTD")
    batch = f.name == "batchnorm"
    shape, over, per = ((N, C, H, W), (0, 2, 3), (C,)) if batch else ((N, T, D), (2,), (D,))
    x, dy = 2 * f.normal(*shape), f.normal(*shape, mean=0.5)
    n = math.prod(shape[a] for a in over)
    g, b = (2 + f.normal(*per) / 8, np.zeros(per))
    wide = (slice(None), None, None) if batch else slice(None)
    y, grads = f({"x": x, "g": g, "b": b}, {}, dy)
    normal = y / g[wide]
    variance = x.var(over, keepdims=True)
    rstd = 1 / np.sqrt(np.maximum(variance, EPS))
    unit, slack = f.unit(n, n), EPS / np.maximum(variance, EPS)  # ε is whatever it is, and below this
    size = (1 + abs(x).max(over, keepdims=True) * rstd)
    yield f.law("mean 0", normal.mean(over, keepdims=True), unit * size, "Means are 0.", "the mean is taken otherwise")
    yield f.law("variance 1", (normal ** 2).mean(over, keepdims=True) - 1, unit * size ** 2 + slack, "Variances are 1.",
                "the variance is taken over another number of elements, or its root is not")
    dx, dg, db = grads["x"], grads["g"], grads["b"]
    dn = abs(dy * g[wide])
    if dx is not None:
        sizes = dn.sum(over, keepdims=True) * rstd * size ** 2
        yield f.law("Σ dx = 0", dx.sum(over, keepdims=True), unit * sizes, "dx sums to 0.",
                    "its mean must be taken off, for a shift of x changes nothing")
        yield f.law("⟨dx, n⟩ = 0", inner(dx, normal, over).reshape(sizes.shape), (unit * size + slack) * sizes,
                    "dx is orthogonal to the normalised x.",
                    "the part along n must be taken off, for a stretch of x changes nothing")
    others = tuple(a for a in range(len(shape)) if a not in ((1,) if batch else (2,)))
    few = math.prod(shape[a] for a in others)
    top = float(size.max())
    if db is not None:
        yield f.law("db = Σ dy", db - dy.sum(others), f.unit(few) * abs(dy).sum(others), "db is the sum of dy.",
                    "the shift was added at every place")
    if dg is not None:
        yield f.law("dg = Σ dy n", dg - (dy * normal).sum(others),
                    f.unit(few, n) * top * (abs(dy) * (1 + abs(normal))).sum(others), "dg is the sum of dy n.",
                    "the scale multiplied n at every place")


# An operator that doubles when an argument doubles obeys Euler's law in it: ⟨dy, y⟩ = ⟨da, a⟩.


def _linear(f: Asked) -> Any:
    return {"x": f.normal(f.sizes["N"], f.sizes["T"], f.sizes["D"]), "w": f.normal(f.sizes["E"], f.sizes["D"])}, {}


def _conv2d(f: Asked) -> Any:
    N, C, H, W, O = (f.sizes[a] for a in "NCHWO")
    return {"x": f.normal(N, C, H, W), "w": f.normal(O, C, 3, 3)}, {"padding": 1}


def _depthwise(f: Asked) -> Any:
    N, C, H, W = (f.sizes[a] for a in "NCHW")
    return {"x": f.normal(N, C, H, W), "w": f.normal(C, 3, 3)}, {"padding": 1}


def _image(f: Asked) -> Any:
    return {"x": f.normal(*(f.sizes[a] for a in "NCHW"))}, {"kernel": 3, "stride": 2} if "pool2d" in f.name and \
        "global" not in f.name else {}


def _dropout(f: Asked) -> Any:
    args, _ = _image(f)
    return args, {"mask": f.rng.random(args["x"].shape) < 0.75, "rate": 0.25}


def _embedding(f: Asked) -> Any:
    ids = f.rng.integers(f.sizes["V"], size=(f.sizes["N"], f.sizes["T"]))
    return {"w": f.normal(f.sizes["V"], f.sizes["D"])}, {"ids": ids}


def _grid_sample(f: Asked) -> Any:
    N, C, H, W = (f.sizes[a] for a in "NCHW")
    inside = f.rng.integers(-12, 13, size=(N, H, W, 2)) / 16 + 1 / 64   # exact, and mostly off the centres of pixels
    return {"x": f.normal(N, C, H, W), "grid": inside}, {"align_corners": False}


def _affine_grid(f: Asked) -> Any:
    return {"theta": f.normal(f.sizes["N"], 2, 3)}, {"size": (f.sizes["H"], f.sizes["W"]), "align_corners": False}


def _glimpse(f: Asked) -> Any:
    N, C, H, W = (f.sizes[a] for a in "NCHW")
    return {"x": f.normal(N, C, H, W), "loc": f.rng.integers(-4, 5, size=(N, 2)) / 16}, {"size": 3}


# operator: (arguments and options, the arguments it doubles with, those in which it is linear, whether ones give ones)
Example = Callable[[Asked], Any]
DOUBLING: dict[str, tuple[Example, tuple[str, ...], tuple[str, ...], bool]] = {
    "linear": (_linear, ("x", "w"), ("x", "w"), False), "conv2d": (_conv2d, ("x", "w"), ("x", "w"), False),
    "depthwise": (_depthwise, ("x", "w"), ("x", "w"), False), "average_pool2d": (_image, ("x",), ("x",), True),
    "max_pool2d": (_image, ("x",), (), True), "global_average_pool2d": (_image, ("x",), ("x",), True),
    "global_max_pool2d": (_image, ("x",), (), True), "relu": (_image, ("x",), (), True),
    "dropout": (_dropout, ("x",), ("x",), False), "embedding": (_embedding, ("w",), ("w",), True),
    "grid_sample": (_grid_sample, ("x",), ("x",), True), "affine_grid": (_affine_grid, ("theta",), ("theta",), False),
    "glimpse": (_glimpse, ("x",), ("x",), True),
}


def doubling_laws(f: Asked) -> Laws:
    """Euler's law, linearity, and what becomes of a plain 1."""
    example, doubles, linear, plain = DOUBLING[f.name]
    args, options = example(f)
    y, _ = f(args, options)
    dy = f.normal(*y.shape, mean=0.5)
    y, grads = f(args, options, dy)
    biggest = abs(args[doubles[0]]).max()
    if len(doubles) > 1:                                        # at most: the largest x times the sum of a kernel
        w = abs(args["w"])
        biggest = biggest * w.reshape(len(w), -1).sum(1).max()
    elif f.name == "affine_grid":
        biggest = 3 * biggest
    elif f.name == "dropout":
        biggest = biggest / (1 - options["rate"])
    terms = max(a.size for a in args.values()) + dy.size
    # Coordinates are placed among pixels: their rounding counts as often as there are pixels.
    placed = max(f.sizes["H"], f.sizes["W"]) if f.name in ("grid_sample", "glimpse") else 1
    unit = f.unit(terms) * placed
    for name in doubles:
        if grads[name] is not None:
            yield f.law(f"⟨dy, y⟩ = ⟨d{name}, {name}⟩", inner(dy, y) - inner(grads[name], args[name]),
                        unit * abs(dy).sum() * biggest, f"⟨dy, y⟩ is ⟨d{name}, {name}⟩.",
                        f"y doubles when {name} does, so d{name} is not the transpose of the forward pass")
    few = f.unit(terms / max(len(y), 1)) * placed
    for name in linear:
        more = f.normal(*args[name].shape)
        one, both = (f({**args, name: a}, options)[0] for a in (more, args[name] + more))
        yield f.law(f"linear in {name}", both - y - one, few * 4 * biggest * 4,
                    f"y is linear in {name}.", "a sum in must give the sum out")
    if plain:
        ones = {**args, doubles[0]: np.ones_like(args[doubles[0]])}
        one, _ = f(ones, options)
        yield f.law("a plain image stays plain", one - 1, few, "Ones give ones.",
                    "the weights of what is read do not sum to 1, or something outside is read")
    if plain and "x" in linear and grads["x"] is not None:
        axes = tuple(range(1, y.ndim))
        # Where all windows lie inside, each dy is dealt out whole.
        yield f.law("Σ dx = Σ dy", grads["x"].sum((1, 2, 3)) - dy.sum(axes), unit * abs(dy).sum(axes),
                    "dx and dy have the same sum.", "the weights by which dy is dealt out do not sum to 1")


# A gate is one number for many places, and ReLU lets a factor pass from one layer to the next.


def gate_laws(f: Asked) -> Laws:
    N, C, H, W, M = (f.sizes[a] for a in "NCHWM")
    x = f.normal(N, C, H, W)
    x = np.where(x == 0, 1 / 16, x)
    squeeze = {"w1": f.normal(M, C) / 2, "w2": f.normal(C, M) / 2}
    window = {"w": f.normal(1, 2, 3, 3) / 2}
    weights = {"squeeze_excite": squeeze, "channel_gate": squeeze, "efficient_channel": {"w": f.normal(3)},
               "spatial_gate": window, "cbam": squeeze | window}[f.name]
    dy, dz = f.normal(*x.shape, mean=0.5), f.normal(*x.shape)
    args = {"x": x, **weights}
    y, grads = f(args, {}, dy)
    # What a gate's score is summed of, in absolute values, and how much of dy reaches it.
    pooled = [abs(x.mean((2, 3)))] + ([x.max((2, 3)).clip(0)] if f.name in ("channel_gate", "cbam") else [])
    hidden = sum(z @ abs(squeeze["w1"]).T for z in pooled)                                      # (N, M)
    score = {"squeeze_excite": hidden @ abs(squeeze["w2"]).T, "channel_gate": hidden @ abs(squeeze["w2"]).T,
             "efficient_channel": 3 * pooled[0] * abs(weights.get("w", np.ones(1))).max()}.get(f.name)
    around = float(abs(window["w"]).sum() * abs(x).max()) if f.name in ("cbam", "spatial_gate") else 0.0
    most = 1 + around + (0.0 if score is None else float(score.max()))
    unit = f.unit(H * W, C, M) * most
    gate = y / x
    if f.name != "cbam":
        axes, per, of = ((1,), "pixel", "channels") if f.name == "spatial_gate" else ((2, 3), "channel", "pixels")
        yield f.law(f"one gate a {per}", np.ptp(gate, axis=axes), f.unit(1), f"All {of} of a {per} have one gate.",
                    "y / x varies where it is one number")
    yield f.law("between 0 and 1", np.maximum(gate - 1, -gate).clip(0), f.unit(1), "Gates lie between 0 and 1.",
                "y / x does not come from a sigmoid")
    if f.name in ("spatial_gate", "efficient_channel", "squeeze_excite", "channel_gate"):
        if f.name == "spatial_gate":
            moved = x[:, f.rng.permutation(C)]
            again, _ = f({**args, "x": moved}, {})
            change = again / moved - gate[:, :1]
        else:
            moved = x.reshape(N, C, H * W)[:, :, f.rng.permutation(H * W)].reshape(x.shape)
            change = f({**args, "x": moved}, {})[0] / moved - gate[:, :, :1, :1]
        yield f.law("order of what is pooled", change, unit, "The order of what is pooled does not matter.",
                    "something is dropped, or counts by its place")
    # Linear in dy: backward of a sum is the sum of backwards.
    _, other = f(args, {}, dz)
    _, both = f(args, {}, dy + 2 * dz)
    for name, a in both.items():
        one, two = grads[name], other[name]
        if a is not None and one is not None and two is not None:
            size = abs(dy) + 2 * abs(dz)
            total = float((size * abs(x)).sum()) * float(max(1, abs(args[name]).max())) if name != "x" else \
                size.max() + float((size * abs(x)).sum((1, 2, 3) if f.name == "spatial_gate" else (2, 3)).max()) * most
            yield f.law(f"d{name} linear in dy", a - one - 2 * two, unit * total, f"d{name} is linear in dy.",
                        "backward must multiply and add, and nothing else")
    if {"w1", "w2"} <= set(weights) and grads["w1"] is not None and grads["w2"] is not None:
        one, two = (w * grads[name] for name, w in squeeze.items())
        reaches = abs(dy * x).sum((2, 3)) * (1 + around) / 4 @ abs(squeeze["w2"])              # (N, M)
        yield f.law("⟨w1, dw1⟩ = ⟨w2, dw2⟩", one.sum(1) - two.sum(0),
                    unit * (reaches * hidden).sum(0),
                    "⟨w1, dw1⟩ is ⟨w2, dw2⟩ in every hidden unit.",
                    "a factor may pass through ReLU from w1 to w2: one of the two is not the derivative")


def product_laws(f: Asked) -> Laws:
    """Where weights only meet as products, what one gains the other does: ⟨a, da⟩ = ⟨b, db⟩."""
    N, G, T, S, D, C, H, W = (f.sizes[a] for a in "NGTSDCHW")
    options: dict[str, Any] = {}
    groups: tuple[tuple[str, ...], ...]
    if f.name == "multihead":
        args = {"x": f.normal(N, T, C), "context": f.normal(N, S, C + 1), "w_q": f.normal(G * D, C) / 4,
                "w_k": f.normal(G * D, C + 1) / 4, "w_v": f.normal(G * D, C + 1) / 4, "w_o": f.normal(C, G * D) / 4}
        options, groups = {"heads": G}, (("w_q", "w_k"), ("w_v", "w_o", "y"))
    elif f.name == "spatial_self_attention":
        args = {"x": f.normal(N, C, H, W), "w_k": f.normal(D, C) / 4, "w_q": f.normal(D, C) / 4, "w_o": f.normal(C, C)}
        groups = (("w_k", "w_q"), ("w_o", "y"))
    else:
        args = {"x": f.normal(N, C, H, W), "w_g": f.normal(D, C) / 4, "w_z": f.normal(C, D) / 4,
                "w_theta": f.normal(D, C) / 4, "w_phi": f.normal(D, C) / 4}
        options, groups = {"form": "embedded_gaussian"}, (("w_theta", "w_phi"), ("w_g", "w_z", "y"))
    y, _ = f(args, options)
    dy = f.normal(*y.shape, mean=0.5)
    y, grads = f(args, options, dy)
    branch = y - args["x"] if f.name == "non_local" else y      # the image itself is added, without weights
    sums, sizes = {"y": inner(dy, branch)}, {"y": float((abs(dy) * abs(y).max()).sum())}
    for name in (name for group in groups for name in group if name != "y"):
        if grads[name] is None:
            raise Unanswered
        sums[name] = inner(args[name], grads[name])
        sizes[name] = float(norm(args[name]) * norm(grads[name]))
    # Scores are sums of products of features and weights: what an exponential makes of their error.
    features = float(abs(args["x"]).max()) ** 2 * C * C
    score = 1 + features * D * float(abs(args[groups[0][0]]).max() * abs(args[groups[0][1]]).max())
    unit = f.unit(C, D, y.size) * min(score, float(math.sqrt(score)) * 4)
    for group in groups:
        for name in group[1:]:
            allowed = unit * (sizes[group[0]] + sizes[name] + (sizes["y"] if group is groups[0] else 0))
            told = [f"⟨{n}, d{n}⟩" for n in (group[0], name)]
            yield f.law(" = ".join(told), sums[group[0]] - sums[name], allowed, f"{told[0]} is {told[1]}.",
                        "they only meet as a product, so one of the two is not the derivative")


PAIRS = (pairs_laws,)
LAWS: dict[str, tuple[Callable[[Asked], Laws], ...]] = {
    "attention": PAIRS, "grouped_query": PAIRS, "additive": PAIRS,
    **dict.fromkeys(("multihead", "spatial_self_attention", "non_local"), (product_laws,)),
    **dict.fromkeys(("softmax", "log_softmax", "cross_entropy"), (row_laws,)),
    **dict.fromkeys(("layernorm", "batchnorm"), (norm_laws,)),
    **dict.fromkeys(("squeeze_excite", "channel_gate", "efficient_channel", "spatial_gate", "cbam"), (gate_laws,)),
    **dict.fromkeys(DOUBLING, (doubling_laws,)),
}


# Is a gradient the derivative of the forward pass it came with?

DIRECTIONS = 8
SMALL = 64              # elements up to which every one is moved by itself
STEP = 2.0 ** (-52 / 3)
CONSISTENT = 1e-6       # a central difference with this step knows a derivative to about 1e-9


@np.errstate(all="ignore")                   # what is not finite is part of what is compared
def consistent(call: Call, args: dict[str, Any], options: dict[str, Any] | None = None, dy: Any = None, *,
               rng: Any = None) -> dict[str, tuple[bool, float]]:
    """{argument: (its gradient is the derivative of this very forward pass, error relative to ‖da‖ ‖v‖)}.

    call  as in `check`, in float64
    args  arrays, or trees of arrays, by name
    dy    leaves of the cotangent; random where it is None

    By central differences along DIRECTIONS random directions, of both signs, and along every element of a small array
    by itself.  "Your gradient is right for your (wrong) forward": one line to mend, not two.  An argument without a
    gradient is left out; so are all where the function does not answer.
    """
    rng, options = np.random.default_rng(0) if rng is None else rng, options or {}
    answer = call(args, options, None)
    if answer is None or not answer[0]:
        return {}
    y = [np.asarray(a, np.float64) for a in answer[0]]
    dy = [np.asarray(rng.normal(size=a.shape)) for a in y] if dy is None else [np.asarray(a) for a in dy]
    answer = call(args, options, dy)
    if answer is None or answer[1] is None:
        return {}
    # What a difference cannot see: the rounding of both sides, over the step.
    blind = 16 * 2.0 ** -52 / STEP * math.sqrt(tree.dot(y, y) * tree.dot(dy, dy))
    found = {}
    for (name, a), da in zip(args.items(), answer[1]):
        if da is None:
            continue
        step = STEP * max([1.0, *(float(abs(u).max(initial=0.0)) for u in tree.leaves(a))])
        length, worst = math.sqrt(tree.dot(da, da)), 0.0
        for v in directions(a, rng):
            sides = [call({**args, name: tree.map(lambda u, w, h=h: u + h * w, a, v)}, options, None)
                     for h in (step, -step)]
            if any(side is None or not side[0] for side in sides):
                return {}
            numeric = float(tree.dot(dy, [np.subtract(*pair) for pair in zip(sides[0][0], sides[1][0])])) / step / 2
            missed = abs(numeric - float(tree.dot(da, v)))
            scale = max(length * math.sqrt(tree.dot(v, v)), abs(numeric))
            error = 0.0 if missed <= blind else missed / scale if np.isfinite(missed) else math.inf
            worst = max(worst, error)
        found[name] = (worst <= CONSISTENT, worst)
    return found


def directions(a: Any, rng: Any) -> Iterator[Any]:
    """Random ones, and every element of a small array."""
    for _ in range(DIRECTIONS):
        yield tree.map(lambda u: np.asarray(rng.normal(size=u.shape)), a)
    parts: Sequence[np.ndarray] = tree.leaves(a)
    if sum(u.size for u in parts) <= SMALL:
        for number, part in enumerate(parts):
            for place in np.ndindex(part.shape):
                one = [np.zeros(u.shape) for u in parts]
                one[number][place] = 1.0
                rest = iter(one)
                yield tree.map(lambda u, rest=rest: next(rest), a)
