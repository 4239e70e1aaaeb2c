"""What is asked of gates: y / x is the gate."""

import numpy as np

from visattn.check.probes._ask import NEAR, Findings, Function, Question, draw, near, number
from visattn.check.verdicts import Finding

C, H, W = 5, 4, 6


def gate_weights(name: str, factor: float = 1.0) -> dict[str, np.ndarray]:
    """Weights of a gate that make it see all it can: positive where ReLU would hide, the last ones times a factor."""
    rng = np.random.default_rng(4)
    squeeze = {"w1": rng.uniform(0.5, 1, (3, C)), "w2": factor * rng.uniform(0.1, 0.3, (C, 3))}
    window = {"w": factor * rng.uniform(0.3, 1, (1, 2, 3, 3))}
    return {"squeeze_excite": squeeze, "channel_gate": squeeze, "spatial_gate": window, "cbam": squeeze | window,
            "efficient_channel": {"w": factor * rng.uniform(0.3, 1, 3)}}[name]


def gate(f: Function, x: np.ndarray, factor: float = 1.0) -> np.ndarray:
    """y / x (C, H, W)."""
    return (f({"x": x, **gate_weights(f.name, factor)}, {}) / x)[0]


def picture() -> np.ndarray:
    return np.random.default_rng(5).uniform(0.2, 0.6, (1, C, H, W))


def gate_at_zero(theirs: Function, ours: Function) -> Findings:
    """Weights of zeros: σ(0) = ½."""
    got, meant = (float(gate(f, picture(), 0.0).mean()) for f in (theirs, ours))
    gates = 2 if theirs.name == "cbam" else 1
    known = {0.0: "there is no sigmoid before x is multiplied", 2.0 * meant: "two gates are added, each with a sigmoid",
             1.0 + meant: "x is added once more", 0.622 ** gates: "the sigmoid is taken twice",
             1.0: "two gates are added, or there is none", 1 / C: "softmax stands where sigmoid is meant",
             0.5: "one of the two gates is missing"}
    why = next((text for x, text in known.items() if near(got, x)), "that is no sigmoid of 0")
    fine = near(got, meant)
    yield Finding("gate of nothing", f"With weights of zeros the gate is {number(got)}" + (
        f", {'¼: σ(0) twice' if gates == 2 else 'σ(0)'}." if fine else f", where {number(meant)} is meant: {why}."),
        got, fine)


def gate_range(theirs: Function, ours: Function) -> Findings:
    """What a gate does at large weights of both signs."""
    ends = [(gate(theirs, picture(), factor), gate(ours, picture(), factor)) for factor in (1.0, -1.0, 20.0)]
    low, high = (float(end([end(got) for got, _ in ends])) for end in (np.min, np.max))
    fine = all(near(got, meant) for got, meant in ends)
    inside = low >= 0 and high <= 1 + NEAR
    yield Finding("range of the gate", f"The gate lies between {number(low)} and {number(high)}" + (
        "." if fine else ": it is no gate between 0 and 1" + (
            ", but two that are added." if near(high, 2.0, 0.05) and low > 0 else ".") if not inside else
        f", where the reference's reaches from {number(min(float(m.min()) for _, m in ends))} to "
        f"{number(max(float(m.max()) for _, m in ends))}: it is made otherwise."), [low, high], fine)


def gate_shape(theirs: Function, ours: Function) -> Findings:
    """One gate a channel, or one a pixel."""
    if theirs.name == "cbam":
        return
    axes, per, other = ((1, 2), "channel", "pixels") if theirs.name != "spatial_gate" else ((0,), "pixel", "channels")
    got = gate(theirs, picture())
    spread = float(np.ptp(got, axis=axes).max())
    yield Finding(f"one gate a {per}", f"All {other} of a {per} have the same gate." if spread < NEAR else
                  f"The {other} of a {per} have different gates, up to {number(spread)} apart, where one is meant.",
                  spread, spread < NEAR)


def gate_sees(theirs: Function, ours: Function) -> Findings:
    """Which channels the gate of each channel hears of, or which pixels that of each pixel."""
    spatial = theirs.name == "spatial_gate"

    def influence(f: Function) -> np.ndarray:
        x = picture()
        before = gate(f, x)
        if spatial:
            moved = x.copy()
            moved[:, :, 1, 2] += 0.5
            return abs(gate(f, moved) - before).max(0) > 1e-6
        rows = []
        for c in range(C):
            moved = x.copy()
            moved[:, c] += 0.5
            rows.append(abs(gate(f, moved) - before).max((1, 2)) > 1e-6)
        return np.array(rows).T

    got, meant = influence(theirs), influence(ours)
    fine = bool((got == meant).all())
    what = ("A change of pixel (1, 2) reaches the gates of the pixels" if spatial else
            "The gate of each channel (a row) hears of the channels")
    yield Finding("what a gate sees", f"{what} {draw(got)}" + ("." if fine else f", where {draw(meant)} is meant."),
                  draw(got), fine)


def gate_pools(theirs: Function, ours: Function) -> Findings:
    """Is a gate made from the mean, the maximum, or both?"""
    over = (1,) if theirs.name == "spatial_gate" else (2, 3)
    x = picture()
    top = x == x.max(over, keepdims=True)
    n = x[0].size // top.sum()
    mean = np.where(top, x, x * 0.8)                            # the same maximum
    higher = np.where(top, x + 0.5, x - 0.5 / (n - 1))          # the same mean, another maximum

    def senses(f: Function) -> list[str]:
        before = gate(f, x)
        return [name for name, moved in (("the mean", mean), ("the maximum", higher))
                if abs(gate(f, moved) - before).max() > 1e-6]

    got, meant = senses(theirs), senses(ours)
    yield Finding("what is pooled", f"The gate is made from {' and '.join(got) or 'neither mean nor maximum'}" + (
        "." if got == meant else f", where {' and '.join(meant)} is meant."), got, got == meant)


GATES: tuple[Question, ...] = (gate_at_zero, gate_range, gate_shape, gate_pools, gate_sees)
QUESTIONS: dict[str, tuple[Question, ...]] = dict.fromkeys(
    ("squeeze_excite", "channel_gate", "efficient_channel", "spatial_gate", "cbam"), GATES)
