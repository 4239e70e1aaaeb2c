"""What is asked of operators in which every position looks at every position."""

from collections.abc import Callable
from typing import Any

import numpy as np

from visattn.check.probes._ask import NEAR, Findings, Function, Question, Unanswered, draw, near, number
from visattn.check.verdicts import Finding


def look(f: Function, q: Any, k: Any, v: Any, **options: Any) -> np.ndarray:
    """o (N, G, T, E) of queries, keys and values with heads; of multihead, through projections that change nothing."""
    if f.name == "multihead":
        (N, G, T, D), E = q.shape, v.shape[3]
        x, keys, values = (a.swapaxes(1, 2).reshape(N, a.shape[2], -1) for a in (q, k, v))
        unit, none = np.eye, np.zeros
        args = {"x": x, "context": np.concatenate([keys, values], -1), "w_q": unit(G * D),
                "w_k": np.hstack([unit(G * D), none((G * D, G * E))]),
                "w_v": np.hstack([none((G * E, G * D)), unit(G * E)]), "w_o": unit(G * E)}
        return f(args, {"heads": G, **options}).reshape(N, T, G, E).swapaxes(1, 2)
    args = {"q": q, "k": k, "v": v}
    if f.name == "additive":
        rng, M, D = np.random.default_rng(0), 3, q.shape[-1]
        args |= {"wa": rng.normal(size=(M, D)), "ua": rng.normal(size=(M, D)), "va": rng.normal(size=M)}
        args |= {"b": rng.normal(size=M)} if "b" in f.takes else {}
    return f(args, options)


def weights(f: Function, T: int, S: int, q: Any = None, k: Any = None, G: int = 1, D: int = 4, **options: Any) -> Any:
    """The attention map (G, T, S), for values that are the unit matrix; q and k are zeros where they are not given."""
    q = np.zeros((1, G, T, D)) if q is None else q
    k = np.zeros((1, G, S, D)) if k is None else k
    v = np.broadcast_to(np.eye(S), (1, G, S, S)).copy()
    return look(f, q, k, v, **options)[0]


def slope(f: Function, D: int, S: int, a: float, **options: Any) -> float:
    """log(p_1 / p_0) for a query (a, 0 …) and the keys (0 …), (1, 0 …): what the score 'a' counts for."""
    q, k = np.zeros((1, 2, 3, D)), np.zeros((1, 2, S, D))
    q[..., 0], k[:, :, 1, 0] = a, 1
    p = weights(f, 3, S, q, k, G=2, **options)[0]
    if near(p.sum(0), np.ones(S)):                              # equal queries share what they should take each
        raise Unanswered
    return float(np.log(p[0, 1] / p[0, 0]))


SCALES: dict[str, Callable[[int, int, int], float]] = {         # of features D, keys and value features S, heads 2
    "1/√D": lambda D, S, G: D ** -0.5,
    "1": lambda D, S, G: 1,
    "1/D": lambda D, S, G: 1 / D,
    "√D": lambda D, S, G: D ** 0.5,
    "1/√E, of the values' features or of the keys": lambda D, S, G: S ** -0.5,
    "1/√(G D), of the features of all heads": lambda D, S, G: (G * D) ** -0.5,
    "1/√T, of the queries": lambda D, S, G: 3 ** -0.5,
    "1/√G, of the heads": lambda D, S, G: G ** -0.5,
    "1/∜D, the root of the root": lambda D, S, G: D ** -0.25,
    "ln 2/√D: powers of 2 where e is meant": lambda D, S, G: np.log(2) * D ** -0.5,
    "log₂e/√D: log₂e twice, or e where powers of 2 are meant": lambda D, S, G: D ** -0.5 / np.log(2),
    "ln 2: no 1/√D, and powers of 2 where e is meant": lambda D, S, G: np.log(2),
    "log₂e: no 1/√D, and log₂e once too often": lambda D, S, G: 1 / np.log(2),
    "-1/√D: the sign is turned": lambda D, S, G: -D ** -0.5,
    "0: the scores have no influence": lambda D, S, G: 0,
}


def effective_scale(theirs: Function, ours: Function) -> Findings:
    """Two numbers of features tell the law from a number."""
    sizes = ((3, 5), (12, 7))
    got, meant = ([slope(f, D, S, 0.5) / 0.5 for D, S in sizes] for f in (theirs, ours))
    law = next((name for name, of in SCALES.items() if near([of(D, S, 2) for D, S in sizes], got)), "")
    fine = near(got, meant)
    read = " and ".join(number(x) for x in got)
    says = f"The scores are multiplied by {law or read}" + (
        "." if fine else f" ({read} for {' and '.join(str(D) for D, _ in sizes)} features), where 1/√D is meant.")
    yield Finding("effective scale", says, law or got, fine)


def given_scale(theirs: Function, ours: Function) -> Findings:
    got, meant = (slope(f, 4, 3, 0.5, scale=0.3) / 0.5 for f in (theirs, ours))
    says = {0.3: "is used as it is given.", 0.15: "is divided by √D once more.",
            0.5: "is ignored: the scores are multiplied by 1/√D."}
    word = next((text for x, text in says.items() if near(got, x)), f"becomes {number(got)}.")
    yield Finding("scale that is given", f"scale = 0.3 {word}", got, near(got, meant))


def curvature(theirs: Function, ours: Function) -> Findings:
    """Is the logarithm of the weights linear in the scores?"""
    got, meant = ([slope(f, 4, 3, a) / a for a in (0.5, 12)] for f in (theirs, ours))
    fine = near(got[1] / got[0], meant[1] / meant[0])
    yield Finding("curvature", "The weights are exponentials of the scores." if fine else
                  f"Large scores count {number(got[1] / got[0])} of what they should beside small ones: something "
                  "bends them, a cap or another function than the exponential.", got[1] / got[0], fine)


def softcap(theirs: Function, ours: Function) -> Findings:
    """The height of the cap, and the slope below it."""
    (high, low), meant = ([slope(f, 4, 3, 1e4, softcap=2.0), slope(f, 4, 3, 0.02, softcap=2.0) / 0.02]
                          for f in (theirs, ours))
    fine = near([high, low], meant)
    word = ("caps the scores at 2." if fine else "does not cap the scores: it is ignored." if not high < 100 else
            f"caps the scores at {number(high)}, and small ones count {number(low)} "
            f"(2 and {number(meant[1])} are meant: c tanh(a / c), after the scale).")
    yield Finding("softcap", f"softcap = 2 {word}", [high, low], fine)


def attention_map(theirs: Function, ours: Function) -> Findings:
    """What queries and keys make of each other, and along which axis it sums to one."""
    rng = np.random.default_rng(1)
    T, S = 3, 5
    q, k = rng.normal(size=(1, 1, 5, 4)), rng.normal(size=(1, 1, S, 4))
    try:
        got = weights(theirs, T, S, q[:, :, :T], k)[0]
    except Unanswered:                                          # a transposed map has a place for squares only
        T = S
        got = weights(theirs, T, S, q, k)[0]
    meant = weights(ours, T, S, q[:, :, :T], k)[0]
    rows, columns = got.sum(1), got.sum(0)
    ones = near(rows, np.ones(T))
    word = ("Every row of the attention map sums to 1." if ones else
            "The columns of the attention map sum to 1, not its rows: softmax runs over the queries, not over the keys."
            if near(columns, np.ones(S)) else
            "The whole attention map sums to 1, not each of its rows: softmax runs over queries and keys together."
            if near(got.sum(), 1.0) else
            f"The rows of the attention map sum to {', '.join(map(number, rows))}, not to 1: what is divided by is not "
            "their sum.")
    yield Finding("row sums", word, rows.tolist(), ones)
    fine = near(got, meant)

    def table(p: np.ndarray) -> str:
        return " / ".join(" ".join(f"{x:.2f}" for x in row) for row in p)

    yield Finding("attention map", f"{T} queries weigh {S} keys by {table(got)}"
                  + ("." if fine else f", where {table(meant)} is meant."), got.tolist(), fine)


TOP_LEFT = "aligned to the top left corner"


def causal_masks(T: int, S: int) -> dict[str, np.ndarray]:
    t, s = np.arange(T)[:, None], np.arange(S)
    return {TOP_LEFT: s <= t,
            "aligned to the bottom right corner": s <= t + S - T,
            "absent: every query sees every key": s >= 0 * t,
            "one key short: a query does not see its own place": s < t,
            "one key short, from the bottom right corner": s < t + S - T,
            "one key too long: a query sees the next place": s <= t + 1,
            "one key too long, from the bottom right corner": s <= t + S - T + 1,
            "turned around: a query sees only what comes later": s > t,
            "turned around: a query sees itself and what comes later": s >= t}


def support(f: Function, T: int, S: int, **options: Any) -> tuple[np.ndarray, float]:
    """(which keys each query reads, the smallest weight beside the largest), of queries and keys of zeros."""
    p = weights(f, T, S, **options)[0]
    seen = p > 0                                                # NaN is not
    return seen, float(np.min(p[seen], initial=1.0) / np.max(p[seen], initial=1e-300))


def leaking(seen: np.ndarray, meant: np.ndarray, least: float) -> str:
    """What is said of weights that are small where they should be nothing."""
    if least < NEAR and (seen & ~meant).any():
        return (f" Masked keys keep {number(least)} of the weight of the others: the mask adds {number(np.log(least))} "
                "to their scores, where -∞ is meant.")
    return ""


def causal(theirs: Function, ours: Function) -> Findings:
    T, S = 3, 5
    for corner in ("top_left", "bottom_right"):
        try:
            seen, least = support(theirs, T, S, causal=corner)
        except Unanswered:
            continue
        meant, _ = support(ours, T, S, causal=corner)
        fine = bool((seen == meant).all())
        names = [name for name, mask in causal_masks(T, S).items() if (mask == seen).all()]
        names.sort(key=lambda name: ("bottom right" in name) != (corner == "bottom_right"))
        leak = leaking(seen, meant, least)
        word = f"The mask of causal = {corner!r} is {names[0] if names and not leak else 'not what is meant'}"
        yield Finding(f"causal mask, {corner}", f"{word}: {draw(seen)}" + (
            "." if fine else f", where {draw(meant)} is meant.{leak}"), draw(seen), fine)


MASK = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 0, 0], [1, 0, 0, 0, 1]], bool)
SQUARE = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]], bool)


def boolean_mask(theirs: Function, ours: Function) -> Findings:
    mask = MASK
    try:
        seen, least = support(theirs, *mask.shape, mask=mask[None, None])
    except Unanswered:
        mask = SQUARE
        seen, least = support(theirs, *mask.shape, mask=mask[None, None])
    fine = bool((seen == mask).all())
    leak = leaking(seen, mask, least)
    word = ("" if fine else leak or " True hides a key, where it should show it." if leak or (seen == ~mask).all() else
            " It is ignored." if seen.all() else " It is transposed: its rows are the queries."
            if mask is SQUARE and (seen == mask.T).all() else " It hides others than it says.")
    yield Finding("mask", f"A mask {draw(mask)} shows {draw(seen)}.{word}", draw(seen), fine)


def two_masks(theirs: Function, ours: Function) -> Findings:
    """A mask and causal: both hide."""
    options: dict[str, Any] = {"mask": MASK[None, None, ::-1], "causal": "top_left"}
    seen, meant = (support(f, *MASK.shape, **options)[0] for f in (theirs, ours))
    fine = bool((seen == meant).all())
    alone = {"the mask alone": MASK[::-1], "the causal mask alone": causal_masks(3, 5)[TOP_LEFT],
             "what either of them shows": MASK[::-1] | causal_masks(3, 5)[TOP_LEFT]}
    name = next((name for name, mask in alone.items() if (mask == seen).all()), "")
    yield Finding("mask and causal", f"A mask and causal together show {draw(seen)}" + (
        "." if fine else f", {name + ', ' if name else ''}where {draw(meant)} is meant."), draw(seen), fine)


def bias(theirs: Function, ours: Function) -> Findings:
    """How much a bias of 3 counts: beside scores of 0, beside scores of 2, and above a cap."""
    b = np.zeros((1, 2, 3, 3))
    b[..., 1] = 3

    def read(f: Function, a: float, **options: Any) -> float:
        q, k = np.zeros((1, 2, 3, 4)), np.zeros((1, 2, 3, 4))
        q[..., 0], k[..., 1, 0] = 2 * a, 1
        args = {"q": q, "k": k, "v": np.broadcast_to(np.eye(3), (1, 2, 3, 3)).copy(), "bias": b}
        p = f(args, options)[0, 0, 0]
        return float(np.log(p[1] / p[0]))

    got, meant = ([read(f, 0), read(f, 2)] for f in (theirs, ours))
    fine = near(got, meant)
    word = ("is added to the scores." if fine else "is ignored." if near(got, [0.0, 2.0])
            else "is multiplied with the scores, where it is meant to be added." if near(got[0], 0.0) else
            "is multiplied by the scale, too." if near(got[0], 1.5) else f"counts {number(got[0])}.")
    yield Finding("bias", f"A bias of 3 {word}", got, fine)
    capped, meant_capped = (read(f, 0, softcap=2.0) for f in (theirs, ours))
    fine = near(capped, meant_capped)
    yield Finding("bias and softcap", "A bias is added after the cap." if fine else
                  f"A bias of 3 counts {number(capped)} under a cap of 2: the cap comes first, then the bias.",
                  capped, fine)


def cap_and_mask(theirs: Function, ours: Function) -> Findings:
    seen, meant = (support(f, 3, 5, causal="top_left", softcap=2.0)[0] for f in (theirs, ours))
    fine = bool((seen == meant).all())
    yield Finding("softcap and mask", "A cap changes nothing in the mask." if fine else
                  f"With a cap, masked keys are seen, {draw(seen)}: of -∞ the cap makes -c. The cap comes first, then "
                  "the mask.", draw(seen), fine)


def nothing_left(theirs: Function, ours: Function) -> Findings:
    """What a query gets that may see nothing."""
    T, S = 3, 4
    mask = np.ones((1, 1, T, S), bool)
    mask[..., 1, :] = False
    got, meant = (weights(f, T, S, mask=mask)[0, 1] for f in (theirs, ours))
    word = ("zeros" if (got == 0).all() else "NaN: 0 / 0, or -∞ less -∞" if np.isnan(got).any() else
            "the mean of all values: all its scores are the same large negative number" if near(got, np.full(S, 1 / S))
            else "values weighed by " + ", ".join(map(number, got)))
    fine = bool((got == meant).all())
    yield Finding("nothing to see", f"A query with no key left gets {word}"
                  + ("." if fine else ", where zeros are meant."), word.partition(":")[0], fine)


LADDER = ((11.5, "float16"), (89.0, "float32"), (710.0, "float64"), (1e5, "float64"))


def overflow(theirs: Function, ours: Function) -> Findings:
    """At which score do the exponentials overflow, and do they vanish where all scores are far below 0?"""
    def finite(score: float) -> bool:
        k = np.array([1.0, 2.0, 1.5]).reshape(1, 1, 3, 1)
        return bool(np.isfinite(weights(theirs, 1, 3, np.full((1, 1, 1, 1), score), k, D=1)).all())

    first = next(((score, dtype) for score, dtype in LADDER if not finite(score)), None)
    yield Finding("overflow", "Scores may be as large as they like." if first is None else
                  f"A score of {number(first[0])} gives NaN: its exponential overflows in {first[1]}. "
                  "Subtract the largest score of the row first.", first[0] if first else None, first is None)
    if first is None:
        low = finite(-1e3)
        yield Finding("underflow", "Scores may be as far below 0 as they like." if low else
                      "Where all scores are -1000 or less it gives NaN: their exponentials are all 0. Subtract the "
                      "largest score of the row, whatever its sign.", low, low)


def key_heads(theirs: Function, ours: Function) -> Findings:
    """Which key head each query head reads: every key head has a value of its own."""
    Gq, G = (6, 3) if theirs.name == "grouped_query" else (3, 3)
    v = np.broadcast_to(np.eye(G)[None, :, None], (1, G, 4, G)).copy()
    got, meant = (look(f, np.zeros((1, Gq, 2, 4)), np.zeros((1, G, 4, 4)), v)[0, :, 0] for f in (theirs, ours))
    fine = near(got, meant)
    heads, wanted = got.argmax(1).tolist(), meant.argmax(1).tolist()
    single = near(np.sort(got)[:, -1], np.ones(Gq))
    word = " ".join(map(str, heads)) if single else "several at once"
    why = (" Neighbours share a key head: np.repeat, not np.tile." if heads == [h % G for h in range(Gq)] and Gq > G
           else "")
    yield Finding("key heads", f"The query heads 0 … {Gq - 1} read the key heads {word}" + (
        "." if fine else f", where {' '.join(map(str, wanted))} is meant.{why}"), heads if single else None, fine)


def independence(theirs: Function, ours: Function) -> Findings:
    """What changes when one example, one head, one query changes."""
    rng = np.random.default_rng(2)
    N, G, T, S, D = 2, 2, 3, 4, 4

    def inputs() -> list[np.ndarray]:
        return [rng.normal(size=(N, G, n, D)) for n in (T, S, S)]


    base, other = inputs(), inputs()
    before = look(theirs, *base)
    parts = {"example": (0, "images of a batch must not see each other"),
             "head": (1, "heads are split or merged in another order, or share what each has for itself"),
             "query": (2, "a query must not change what others find")}
    for what, (axis, why) in parts.items():
        mixed = [a.copy() for a in base]
        index = (slice(None),) * axis + (0,)
        for a, b in list(zip(mixed, other))[:1 if what == "query" else 3]:
            a[index] = b[index]
        change = abs(look(theirs, *mixed) - before) > NEAR * (1 + abs(before))
        leaks = bool(np.delete(change, 0, axis).any())
        yield Finding(f"one {what} alone", f"A change of {what} 0 changes " + (
            f"other {what}s, too: {why}." if leaks else f"no other {what}."), leaks, not leaks)


def leaks(theirs: Function, ours: Function) -> Findings:
    """Does what a masked value holds reach the output?  Reported only: libraries differ."""
    T, S = 2, 4
    mask = np.ones((1, 1, T, S), bool)
    mask[..., 2] = False
    for what, value in (("NaN", np.nan), ("1e30", 1e30)):
        v = np.ones((1, 1, S, 3))
        v[:, :, 2] = value
        got = look(theirs, np.zeros((1, 1, T, 4)), np.zeros((1, 1, S, 4)), v, mask=mask)
        through = not near(got, np.ones_like(got))
        yield Finding(f"masked {what}", f"{what} in a masked value " + (
            "reaches the output: 0 times it is not 0." if through and what == "NaN" else
            "reaches the output: its weight is not exactly 0." if through else "does not reach the output."), through)


def ones_stay_ones(theirs: Function, ours: Function) -> Findings:
    """An image of one colour has one colour: what weighs it sums to one."""
    C, H, W = 3, 4, 5
    x, unit = np.broadcast_to(np.array([1.0, 2.0, 3.0])[:, None, None], (1, C, H, W)).copy(), np.eye(C)
    names: tuple[str, ...]
    if theirs.name == "non_local":
        names, options = ("w_g", "w_z", "w_theta", "w_phi"), {"form": "embedded_gaussian"}
    else:
        names, options = ("w_k", "w_q", "w_o"), {}
    args = {"x": x, **dict.fromkeys(names, unit)}
    got, meant = (f(args, options) for f in (theirs, ours))
    fine = near(got, meant)
    times = float(np.mean(got / meant))
    yield Finding("weights of a plain image", "The weights of all pixels sum to 1." if fine else
                  f"An image of one colour comes out {number(times)} times as bright as it should: the weights of the "
                  "pixels do not sum to 1, or the image is added once too often or too seldom.", times, fine)


PAIRS: tuple[Question, ...] = (
    effective_scale, curvature, attention_map, overflow, causal, boolean_mask, nothing_left, key_heads, independence,
    given_scale, softcap, two_masks, bias, cap_and_mask, leaks)
QUESTIONS: dict[str, tuple[Question, ...]] = {
    "attention": PAIRS, "grouped_query": PAIRS, "multihead": PAIRS,
    "additive": (attention_map, boolean_mask, nothing_left, key_heads, independence, leaks),
    "spatial_self_attention": (ones_stay_ones,), "non_local": (ones_stay_ones,),
}
