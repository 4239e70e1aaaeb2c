"""What is asked of softmax and of normalisations."""

from typing import Any

import numpy as np

from visattn.check.probes._ask import NEAR, Findings, Function, Question, Unanswered, near, number
from visattn.check.verdicts import Finding


def softmax_axis(theirs: Function, ours: Function) -> Findings:
    """Along which axis it sums to one."""
    x = np.random.default_rng(3).normal(size=(2, 3, 4))
    exp = np.exp if theirs.name == "log_softmax" else np.asarray
    for axis in (None, 0, 1):
        options = {} if axis is None else {"axis": axis}
        try:
            got = exp(theirs({"x": x}, options))
        except Unanswered:
            continue
        meant = exp(ours({"x": x}, options))
        ones = [a for a in range(3) if near(got.sum(a), np.ones(np.delete(x.shape, a)))]
        wanted = [a for a in range(3) if near(meant.sum(a), np.ones(np.delete(x.shape, a)))]
        title = "axis" if axis is None else f"axis = {axis}"
        word = (f"The weights sum to 1 along axis {ones[0]}" if ones else
                "All weights together sum to 1, along no axis" if near(got.sum(), 1.0) else
                f"The weights sum to {number(float(got.sum(wanted[0]).mean()))} along axis {wanted[0]}")
        yield Finding(title, word + ("." if ones == wanted else f", where axis {wanted[0]} is meant to sum to 1."),
                      ones[0] if ones else None, ones == wanted)


def softmax_base(theirs: Function, ours: Function) -> Findings:
    """What a step of 1 in x multiplies a weight by, and whether a shift of all x, and a large one, changes anything."""
    x = np.array([[0.0, 1.0, 3.0]])
    log = np.asarray if theirs.name == "log_softmax" else np.log
    got = log(theirs({"x": x}, {}))[0]
    base = float(np.exp(got[1] - got[0]))
    yield Finding("base", f"One more in x multiplies a weight by {number(base)}" + (
        ", which is e." if near(base, np.e) else ", where e = 2.718 is meant."), base, near(base, np.e))
    for shift in (1.0, 1e5):
        moved = log(theirs({"x": x + shift}, {}))[0]
        fine = near(moved, got, 1e-2 if shift > 1 else NEAR)
        yield Finding(f"shift by {number(shift)}", "What is added to all x changes nothing." if fine else
                      "A large number added to all x gives NaN: subtract the largest first."
                      if not np.isfinite(moved).all() else "What is added to all x changes the weights.",
                      bool(fine), fine)


def softmax_mask(theirs: Function, ours: Function) -> Findings:
    mask = np.array([[True, False, True], [False, False, False]])
    got, meant = (f({"x": np.zeros((2, 3))}, {"mask": mask}) for f in (theirs, ours))
    for row, title in enumerate(("mask", "nothing left")):
        fine = near(got[row], meant[row])
        what = "A masked element" if row == 0 else "A row with nothing left"
        yield Finding(title, f"{what} makes of three zeros the weights {', '.join(map(number, got[row]))}" + (
            "." if fine else f", where {', '.join(map(number, meant[row]))} is meant."), got[row].tolist(), fine)


def normalise(f: Function, x: np.ndarray, g: float = 1.0, b: float = 0.0, **options: Any) -> np.ndarray:
    n = x.shape[1] if f.name == "batchnorm" else x.shape[-1]
    return f({"x": x, "g": np.full(n, g), "b": np.full(n, b)}, options)


def norm_axes(theirs: Function, ours: Function) -> Findings:
    """Over which axes the mean is 0, and what the variance is there."""
    batch = theirs.name == "batchnorm"
    shape, over = ((3, 4, 5, 6), (0, 2, 3)) if batch else ((3, 4, 6), (2,))
    rng = np.random.default_rng(6)
    x = 10 * rng.normal(size=shape) + np.arange(np.prod(shape)).reshape(shape) + 5
    got = normalise(theirs, x)
    n = int(np.prod([shape[a] for a in over]))
    axes: dict[str, tuple[int, ...]] = {
        "each pixel over its channels": (1,), "each pixel over the batch": (0,), "each channel of each image": (2, 3),
        "each channel over the batch and its pixels": (0, 2, 3), "each image": (1, 2, 3),
        "everything at once": (0, 1, 2, 3)} if batch else {
        "each token over its features": (2,), "each feature over the tokens": (1,), "each feature over the batch": (0,),
        "each example over tokens and features": (1, 2), "everything at once": (0, 1, 2)}
    # What is normalised over few axes is so over more: the first is it.
    word = next((name for name, a in axes.items() if near(got.mean(a), np.zeros_like(got.mean(a)), 1e-4)
                 and np.ptp(got.var(a)) < 1e-4), "")
    fine = word != "" and axes[word] == over
    meant = next(name for name, a in axes.items() if a == over)
    yield Finding("normalised over", (f"Normalised is {word}" if word else "Nothing has mean 0 and one variance") + (
        "." if fine else f", where {meant} is meant."), word, fine)
    if not fine:
        return
    variance = float(got.var(over).mean())
    right = near(variance, 1.0)
    yield Finding("variance", f"The variance becomes {number(variance)}" + (
        "." if right else ": it was divided by the number of elements less one, where the number of elements is meant."
        if near(variance, (n - 1) / n) else ", where 1 is meant: it was divided by the variance, not by its root."
        if variance < 0.1 else ", where 1 is meant."), variance, right)


def norm_scale(theirs: Function, ours: Function) -> Findings:
    x = np.random.default_rng(7).normal(size=(3, 4, 5, 6) if theirs.name == "batchnorm" else (3, 4, 6))
    got, meant = (normalise(f, x, 2.0, 3.0) for f in (theirs, ours))
    fine = near(got, meant)
    a, b = np.polyfit(meant.ravel() / 2 - 1.5, got.ravel(), 1)
    yield Finding("scale and shift", f"With g = 2 and b = 3 it gives {number(a)} n + {number(b)}" + (
        "." if fine else ", where 2 n + 3 is meant."), [float(a), float(b)], fine)


def norm_eps(theirs: Function, ours: Function) -> Findings:
    """ε, where the variance is far smaller: y = c / √(v + ε)."""
    shape = (3, 4, 5, 6) if theirs.name == "batchnorm" else (3, 4, 6)
    over = (0, 2, 3) if theirs.name == "batchnorm" else (2,)
    x = 1e-5 * np.random.default_rng(8).normal(size=shape)
    c = x - x.mean(over, keepdims=True)
    v = float((c * c).mean())

    def ratio(f: Function, **options: Any) -> float:
        y = normalise(f, x, **options)
        return float(np.sqrt((c * c).sum() / (y * y).sum()))

    for options, eps in (({}, 1e-5), ({"eps": 0.01}, 0.01)):
        try:
            got, meant = ratio(theirs, **options), ratio(ours, **options)
        except Unanswered:
            continue
        fine = near(got / meant, 1.0, 1e-2)
        found = got ** 2 - v
        word = ("." if fine else ": it is added to the root, where under the root is meant."
                if near(got / (v ** 0.5 + eps), 1.0, 0.05) else f", where {number(eps)} is meant.")
        yield Finding("eps" if not options else "eps that is given", f"ε is {number(found)}{word}", found, fine)


NORMS: tuple[Question, ...] = (norm_axes, norm_scale, norm_eps)
QUESTIONS: dict[str, tuple[Question, ...]] = {
    "softmax": (softmax_axis, softmax_base, softmax_mask), "log_softmax": (softmax_axis, softmax_base),
    "layernorm": NORMS, "batchnorm": NORMS,
}
