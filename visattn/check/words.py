"""What a report says, in words, however it is shown: headlines, verdicts, numbers, and where an error sits.

Texts of a checked function pass through `clean`: nothing it says can draw on a terminal or hide in a line.
"""

import math
import re
import unicodedata
from typing import Any, NamedTuple

import numpy as np

from visattn.check.verdicts import RIGHT, Map, Part, Report, Suspect, Verdict

WORD: dict[Verdict, str] = {
    "failed": "no answer", "contract": "breaks a promise", "range": "not finite", "wrong": "wrong",
    "precision": "too coarse", "imprecise": "right, but imprecise", "pass": "right", "unsupported": "not supported",
}
MARK = {"right": "✓", "other": "~", "wrong": "✗"}
WRONG = ("failed", "contract", "range", "wrong", "precision")
ESCAPE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?)")         # colours, titles
BOUND = "errors in bounds: 1 is the most that honest arithmetic of that precision loses"


def clean(text: object) -> str:
    """Text without what a terminal obeys: control and formatting characters, halves of surrogate pairs."""
    kept = ESCAPE.sub("", str(text)).replace("\r\n", "\n").replace("\t", "    ")
    kinds = {c: unicodedata.category(c) for c in set(kept)}
    return "".join("\ufffd" if kinds[c] == "Cs" else c for c in kept if c == "\n" or kinds[c] not in ("Cc", "Cf"))


def line(text: object) -> str:
    """The same in one line."""
    return " ".join(clean(text).split())


def convention(part: Part) -> str:
    """The library whose convention the answers follow, where it is no mistake; else ""."""
    return line(part.suspect.convention) if part.suspect else ""


def tone(part: Part) -> str:
    """right, other (a convention; not supported), or wrong."""
    if part.verdict in RIGHT:
        return "right"
    return "other" if convention(part) or part.verdict == "unsupported" else "wrong"


def word(part: Part) -> str:
    """The verdict on a part."""
    return f"right, as {convention(part)} does it" if convention(part) else WORD[part.verdict]


def tone_of(report: Report) -> str:
    """right, other or wrong, of the whole."""
    if report.passed:
        return "right"
    open_ = [part for part in report.parts if part.verdict not in RIGHT]
    return "other" if report.verdict == "unsupported" or (
        open_ and all(tone(part) == "other" for part in open_)) else "wrong"


def consistent(part: Part) -> str:
    """What a gradient that is right for a wrong output is told, where the verdict has no words of its own."""
    told = part.consistent and part.verdict not in RIGHT and not part.says
    return "It is the gradient of your own output: mend the output, and it is right, too." if told else ""


def groups(report: Report) -> list[list[Part]]:
    """The parts that are not simply right, those together of which the same is said."""
    found: dict[tuple, list[Part]] = {}
    for part in report.parts:
        if part.verdict != "pass" or part.suspect:
            same = part.suspect and (part.suspect.names, part.suspect.line, part.suspect.instead)
            found.setdefault((part.verdict, part.says, part.consistent, same), []).append(part)
    return list(found.values())


def headline(report: Report) -> str:
    """The verdict and the whole in a sentence: "wrong: dk lacks the factor 1/√D"."""
    libraries = dict.fromkeys(convention(part) for part in report.parts if convention(part))
    if libraries and tone_of(report) != "wrong":
        first = f"right, as {' and '.join(libraries)} {'does' if len(libraries) == 1 else 'do'} it"
    else:
        first = WORD[report.verdict]
    says = line(report.says)
    for prefix in (f"{report.verdict}: ", "Right: "):
        says = says.removeprefix(prefix)
    if says.lower().startswith((first, "not judged")):
        return says
    return f"{first}: {says}" if says else first


def measured(part: Part) -> bool:
    """Was an error measured?  A right part whose error is not finite is right by another measure."""
    return (bool(part.case) and part.verdict not in ("failed", "contract", "unsupported")
            and (math.isfinite(part.ratio) or part.verdict not in RIGHT))


def judged(report: Report) -> str:
    """What was judged: "3 cases in float64 and float32: the output and 3 gradients"."""
    if not report.cases:
        return "no case was judged"
    parts = [p for p in report.parts if p.verdict != "unsupported"]
    grads = sum(gradient(p) for p in parts)
    what = ["the output"] * any(not gradient(p) for p in parts) + [counted(grads, "gradient")] * (grads > 0)
    cases = counted(len(report.cases), "case")
    precisions = f" in {several(report.precisions)}" if report.precisions else ""
    return f"{cases}{precisions}: {several(what) or 'nothing could be judged'}"


def gradient(part: Part) -> bool:
    """y, y1, y.0 … are outputs; everything else is the gradient of an argument."""
    return not (part.name == "y" or (part.name[:1] == "y" and part.name[1:].lstrip(".").isdecimal()))


def largest(report: Report) -> str:
    """The largest error of all parts, and where it was; "" if there is none."""
    known = [p for p in report.parts if measured(p)]
    if not known:
        return ""
    worst = max(known, key=lambda p: math.inf if math.isnan(p.ratio) else p.ratio)
    return (f"The largest error is {number(worst.ratio)} of the bound ({worst.name}, {line(worst.precision)}, "
            f"case {line(worst.case)}).")


def evidence(report: Report, suspect: Suspect) -> str:
    """On how many cases a suspicion rests."""
    told = f"{suspect.evidence} of {counted(len(report.cases), 'case')}"
    return f"Evidence: {told} {'tells' if suspect.evidence == 1 else 'tell'} this apart from the reference."


def place(part: Part, m: Map) -> str:
    """The worst element of a map."""
    index = ", ".join(str(int(i)) for i in m.worst)
    got, wanted = apart(m.got, m.wanted)
    return (f"Largest at {part.name}[{index}] of case {line(m.case)}: got {got}, wanted {wanted}; "
            f"honest arithmetic is within {plain_number(m.bound)}.")


def isolation(report: Report) -> str:
    """In what the function ran, in a line: what protects from it, and what does not."""
    first, *others = (line(item) for item in report.isolation)
    gaps = [item for item in others if "not isolated" in item or item in ("user: yours", "limits: none")]
    held = [item.partition(":")[0] for item in others if item not in gaps]
    return "; ".join([first, *([f"protections: {several(held)}"] if held else []), *gaps])


class Picture(NamedTuple):
    """A map as at most a few small tables, each cell the worst of the elements that it stands for."""

    axis: str                           # of the tables, "" if there is one
    rows: str                           # the axis that goes down, "" if there is one row
    columns: str
    block: tuple[int, int]              # elements in a cell
    tables: tuple[tuple[int, np.ndarray], ...]      # (index along `axis`, ratios)
    left_out: int                       # tables that are not shown


def picture(m: Map, rows: int, columns: int, tables: int) -> Picture | None:
    """The map in at most `tables` tables of `rows` × `columns` cells, those with the largest errors; None if empty."""
    ratio = worst_is_infinite(m.ratio)
    if ratio.size == 0 or ratio.ndim > 3:
        return None
    names = ["", "", "", *axes(m)][-3:]
    cube = ratio.reshape((1,) * (3 - ratio.ndim) + ratio.shape)
    chosen = sorted(sorted(range(len(cube)), key=lambda i: -cube[i].max())[:tables])
    block = (math.ceil(cube.shape[1] / rows), math.ceil(cube.shape[2] / columns))
    return Picture(names[0], names[1], names[2], block, tuple((i, pooled(cube[i], *block)) for i in chosen),
                   len(cube) - len(chosen))


def axes(m: Map) -> list[str]:
    """The letters of the axes of the ratios, numbers where there are none."""
    names = [line(a).lstrip("*#") for a in m.axes]
    if len(names) > m.ratio.ndim:
        names = names[len(names) - m.ratio.ndim:]
    return [f"axis {i}" for i in range(m.ratio.ndim - len(names))] + names


def worst_is_infinite(ratio: np.ndarray) -> np.ndarray:
    ratio = np.asarray(ratio, float)
    return np.where(np.isnan(ratio), np.inf, ratio)


def pooled(table: np.ndarray, high: int, wide: int) -> np.ndarray:
    """The largest of every block of high × wide."""
    H, W = table.shape
    padded = np.pad(table, ((0, -H % high), (0, -W % wide)), constant_values=-np.inf)
    return padded.reshape(padded.shape[0] // high, high, padded.shape[1] // wide, wide).max((1, 3))


def limits(ratio: np.ndarray, levels: int) -> list[float]:
    """Upper ends of the levels of a picture: 1, then powers of ten, evenly, up to the largest finite error."""
    finite = ratio[np.isfinite(ratio)]
    top = max(1, math.ceil(math.log10(max(float(finite.max(initial=1.0)), 1.0))))
    return [1.0] + [10.0 ** e for e in sorted({math.ceil(top * k / levels) for k in range(1, levels + 1)})]


def level(ratio: np.ndarray, ends: list[float]) -> np.ndarray:
    """0 within the bound, up to len(ends) - 1 for the largest errors, len(ends) where it is not finite."""
    found = np.searchsorted(ends, np.where(np.isfinite(ratio), ratio, 0.0))
    return np.where(np.isfinite(ratio), np.minimum(found, len(ends) - 1), len(ends))


def seen(m: Map) -> str:
    """What there is to see in a map, in a sentence."""
    ratio = worst_is_infinite(m.ratio)
    beyond = ratio > 1
    off, n = int(beyond.sum()), int(beyond.size)
    if not off:
        return "Every element is within the bound."
    endless = int(np.isinf(ratio).sum())
    tail = f", {'all' if endless == off else endless} of them not finite" if endless and off > 1 else ""
    if off == n:
        return f"Every element is off{tail}." if n > 1 else "It is off."
    where = []
    for i, name in enumerate(axes(m)):
        hit = np.flatnonzero(beyond.any(tuple(j for j in range(beyond.ndim) if j != i)))
        if len(hit) < beyond.shape[i] and (words := indices(hit, beyond.shape[i])):
            where.append(f"{name} is {words}")
    only = f", only where {several(where)}" if where else ""
    return f"{off:,} of {n:,} elements {'is' if off == 1 else 'are'} off{only}{tail}."


def indices(hit: np.ndarray, n: int) -> str:
    """"3", "0 or 2", "2 to 4", "5 or more"; "" for what has no short name."""
    if len(hit) <= 2:
        return " or ".join(str(i) for i in hit)
    if hit[-1] - hit[0] + 1 == len(hit):
        return f"{hit[0]} or more" if hit[-1] == n - 1 else f"{hit[0]} to {hit[-1]}"
    step = int(hit[1] - hit[0])
    if (np.diff(hit) == step).all() and hit[0] < step and hit[-1] + step >= n:
        return {(2, 0): "even", (2, 1): "odd"}.get((step, int(hit[0])), f"{hit[0]} and every {step}th after it")
    return ", ".join(str(i) for i in hit[:-1]) + f" or {hit[-1]}" if len(hit) <= 4 else ""


def number(x: float | None) -> str:
    """An error in bounds: 0.21, 35, 2.3e4, not finite."""
    if x is None:
        return "-"
    if not math.isfinite(x):
        return "not finite"
    return "0" if x == 0 else "<0.01" if 0 < x < 0.01 else f"{x:.3g}" if x < 99.95 else _short(f"{x:.1e}")


def plain_number(x: float) -> str:
    return _short(f"{x:.2g}")


def _short(text: str) -> str:
    """2.3e+04 as 2.3e4, 1.0e+13 as 1e13."""
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}" if e else text


def apart(a: float, b: float) -> tuple[str, str]:
    """Both numbers, with as many digits as it takes to see that they differ."""
    for digits in range(4, 18):
        if f"{a:.{digits}g}" != f"{b:.{digits}g}":
            break
    digits = min(digits + 1, 17)
    return f"{a:.{digits}g}", f"{b:.{digits}g}"


def counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def several(words: Any) -> str:
    """a, b and c."""
    words = [line(w) for w in words]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def file_of(operator: str) -> str:
    """visattn.ops.pairs.attention as the file that it is; other names as they are."""
    return operator.replace(".", "/") + ".py" if operator.startswith("visattn.") else line(operator)
