"""What is asked of operators that look at chosen coordinates: an image of its own coordinates says where."""

from typing import Any

import numpy as np

from visattn.check.probes._ask import NEAR, Findings, Function, Question, Unanswered, near, number
from visattn.check.verdicts import Finding


def maps() -> np.ndarray:
    """An image whose first channel holds the number of the column, whose second that of the row."""
    H, W = 6, 9
    return np.stack(np.broadcast_arrays(np.arange(W, dtype=float), np.arange(H, dtype=float)[:, None]))[None]


def read(f: Function, points: Any, image: Any = None, **options: Any) -> np.ndarray:
    """(points, channels) of an image."""
    grid = np.array(points, dtype=float)[None, None]
    return f({"x": maps() if image is None else image, "grid": grid}, options)[0, :, 0].T


def required(f: Function, **options: Any) -> dict[str, Any]:
    """The options that a function has a place for."""
    return {name: value for name, value in options.items() if name in f.takes}


def grid_order(theirs: Function, ours: Function) -> Findings:
    """Which coordinate runs along the columns."""
    points = [[0, 0], [0.4, 0], [0, 0.4]]
    at = read(theirs, points, **required(theirs, align_corners=True))
    right, down = at[1] - at[0], at[2] - at[0]
    x_first, y_first = right[0] > 0.5 and abs(right[1]) < NEAR, down[0] > 0.5 and abs(down[1]) < NEAR
    mirrored = right[0] < -0.5 and abs(right[1]) < NEAR
    yield Finding("order of a point", "A point is (x, y): columns first." if x_first else
                  "A point is read as (y, x), rows first, where (x, y) is meant." if y_first else
                  "x runs to the left, where to the right is meant." if mirrored else
                  "A point is read neither as (x, y) nor as (y, x).",
                  "x, y" if x_first else "y, x" if y_first else None, bool(x_first))


def grid_corners(theirs: Function, ours: Function) -> Findings:
    """Where ±1 lands, from two points well inside."""
    H, W = maps().shape[2:]
    for align in (True, False):
        try:
            at, meant = (read(f, [[-0.5, -0.5], [0.5, 0.5]], align_corners=align) for f in (theirs, ours))
        except Unanswered:
            continue

        def ends(at: np.ndarray) -> np.ndarray:
            """The column and the row of -1 and of 1."""
            return np.array([1.5 * at[0] - 0.5 * at[1], 1.5 * at[1] - 0.5 * at[0]])

        got, wanted = ends(at), ends(meant)
        known = {"the centres of the outermost pixels": [[0, 0], [W - 1, H - 1]],
                 "the outer edges of the image": [[-0.5, -0.5], [W - 0.5, H - 0.5]],
                 "the edges, half a pixel too far to the right and below": [[0, 0], [W, H]],
                 "the centres, of rows for columns": [[0, 0], [H - 1, W - 1]]}
        name = next((name for name, where in known.items() if near(got, where)), "")
        text = " and ".join(number(x) for x in got[:, 0])
        fine = near(got, wanted)
        yield Finding(f"corners, align_corners={align}", f"align_corners = {align} puts -1 and 1 at "
                      f"{name or 'column ' + text}" + ("." if fine else
                      f" (column {text}), where {' and '.join(number(x) for x in wanted[:, 0])} is meant."),
                      got[:, 0].tolist(), fine)


def grid_outside(theirs: Function, ours: Function) -> Findings:
    """What is read beyond the image, far away and just beside its edge, from columns that are numbered from 1."""
    points = [[-1.5, 0], [1.6, 0], [0, 1.4], [-1 - 0.2 / 9, 0], [-1 + 0.2 / 9, 0]]
    paddings = ("zeros", "border", "reflection") if "padding" in theirs.takes else ("zeros",)
    for padding in paddings:
        for align in (False, True) if "align_corners" in theirs.takes else (False,):
            if align and padding != "reflection":
                continue                                        # only reflections depend on where ±1 are
            options = required(theirs, padding=padding, align_corners=align)
            try:
                got = read(theirs, points, maps() + 1, **options)
            except Unanswered:
                continue
            known = {p: read(ours, points, maps() + 1, padding=p, align_corners=align)
                     for p in ("zeros", "border", "reflection")}
            meant, fine = known[padding], near(got, known[padding])
            name = next((p for p, value in known.items() if near(got, value)), "")
            there = {"zeros": "are zeros", "border": "is the border", "reflection": "is the reflection"}.get(name)
            columns = [", ".join(map(number, at[:, 0])) for at in (got, meant)]
            word = f"Outside the image there {there}" if there else (
                f"At and outside the edge, for padding = {padding!r}, it reads {columns[0]}")
            yield Finding(f"outside, {padding}{', align_corners=True' if align else ''}", word + (
                "." if fine else f", where {padding!r} is meant: {columns[1]}."), name or got[:, 0].tolist(), fine)


def grid_between(theirs: Function, ours: Function) -> Findings:
    """What is read between pixels, and whether a plain image stays plain."""
    H, W = maps().shape[2:]
    spike = np.zeros((1, 1, H, W))
    spike[..., 2, 4] = 1
    pixels = (4, 2), (4.25, 2), (4, 2.25), (4.25, 2.25), (3.75, 2)
    points = [[2 * u / (W - 1) - 1, 2 * v / (H - 1) - 1] for u, v in pixels]
    for mode in ("bilinear", "nearest") if "mode" in theirs.takes else ("bilinear",):
        options = required(theirs, align_corners=True, mode=mode)
        got, meant = (read(f, points, spike, **options)[:, 0] for f in (theirs, ours))
        fine = near(got, meant)
        known = {"nearest": [1, 1, 1, 1, 1], "bilinear": [1, 0.75, 0.75, 0.5625, 0.75]}
        name = next((name for name, value in known.items() if near(got, value)), "")
        yield Finding(f"between pixels, {mode}", f"A quarter of a pixel beside a point of 1, to the right, below, "
                      f"both, and to the left, it reads {', '.join(map(number, got[1:]))}" + (
                          "." if fine else f", where {', '.join(map(number, meant[1:]))} is meant"
                          + (f": that is {name}." if name else ".")), got.tolist(), fine)


def affine(f: Function, theta: Any, align: bool) -> np.ndarray:
    """(Ho, Wo, 2)."""
    options = {"size": (3, 5), **required(f, align_corners=align)}
    return f({"theta": np.array(theta, dtype=float)[None]}, options)[0]


def affine_points(theirs: Function, ours: Function) -> Findings:
    """The order of a point and the corners, of the identity; which way a shift goes."""
    same = [[1, 0, 0], [0, 1, 0]]
    for align in (True, False):
        got, meant = affine(theirs, same, align), affine(ours, same, align)
        swapped = near(got[..., ::-1], meant)
        along = float(got[0, -1, 1 if swapped else 0]), float(got[0, 0, 1 if swapped else 0])
        fine = near(got, meant)
        if align:
            order = fine or near(got, affine(ours, same, False))
            yield Finding("order of a point", "A point is (x, y): columns first." if order else
                          "A point is written as (y, x), rows first, where (x, y) is meant." if swapped or near(
                              got[..., ::-1], affine(ours, same, False)) else
                          "The points of the identity are not where their pixels are.",
                          "x, y" if order else "y, x" if swapped else None, order)
        corner = ("the centres of the outermost pixels" if near(along, (1.0, -1.0)) else
                  "the outer edges of the image" if near(along, (0.8, -0.8)) else
                  f"{number(along[1])} and {number(along[0])} for its outermost pixels")
        right = fine or swapped
        yield Finding(f"corners, align_corners={align}", f"With align_corners = {align}, ±1 are {corner}" + (
            "." if right else ", which is not what is meant."), list(along), right)
    shift = [[1, 0, 0.5], [0, 1, -0.25]]
    moved, meant = ((affine(f, shift, True) - affine(f, same, True)) for f in (theirs, ours))
    fine = near(moved, meant)
    step = moved.reshape(-1, 2).mean(0)
    yield Finding("shift", f"A shift by (0.5, -0.25) moves the points by ({number(step[0])}, {number(step[1])})" + (
        "." if fine else ", where the same is meant."), step.tolist(), fine)
    turn = [[0, 1, 0], [0, 0, 0]]
    fine = near(affine(theirs, turn, True), affine(ours, turn, True)) or not fine
    yield Finding("second column", "The second number of a row of theta multiplies y." if fine else
                  "The second number of a row of theta does not multiply y: theta is transposed, or x and y change "
                  "places.", fine, fine)


def glimpse_place(theirs: Function, ours: Function) -> Findings:
    """Where the middle of a patch lies, which coordinate is which, and how far the patches see."""
    def patch(f: Function, loc: Any, **options: Any) -> np.ndarray:
        return f({"x": maps(), "loc": np.array([loc], dtype=float)}, {"size": 3, **options})[0]

    def centre(f: Function, loc: Any) -> np.ndarray:
        return patch(f, loc)[0, :, 1, 1]

    at, right, down = (centre(theirs, loc) for loc in ([0, 0], [0.25, 0], [0, 0.25]))
    wanted, meant = centre(ours, [0, 0]), centre(ours, [0.25, 0])
    fine = near(at, wanted)
    yield Finding("middle", f"At (0, 0) the middle of a patch is column {number(at[0])} and row {number(at[1])}" + (
        "." if fine else f", where {number(wanted[0])} and {number(wanted[1])} is meant."), at.tolist(), fine)
    moved = right - at
    x_first = moved[0] > 0.5 and abs(moved[1]) < NEAR
    y_first = (down - at)[0] > 0.5
    yield Finding("order of a point", "A place is (x, y): columns first." if x_first else
                  "A place is read as (y, x), rows first, where (x, y) is meant." if y_first else
                  "A place is read neither as (x, y) nor as (y, x).",
                  "x, y" if x_first else "y, x" if y_first else None, bool(x_first))
    if x_first:
        unit, step = float(meant[0] - wanted[0]), float(moved[0])
        yield Finding("unit of a place", f"A quarter to the right is {number(step)} columns" + (
            "." if near(step, unit) else f", where {number(unit)} is meant: ±1 are the edges of the image."),
            step, near(step, unit))
    both = {f: np.diff(patch(f, [0, 0], patches=2)[:, 0, 1], axis=1).mean(1) for f in (theirs, ours)}
    fine = near(both[theirs], both[ours])
    yield Finding("widths of the patches", "From pixel to pixel the patches go " + " and ".join(
        map(number, both[theirs])) + " columns" + ("." if fine else
        f", where {' and '.join(map(number, both[ours]))} is meant."), both[theirs].tolist(), fine)


QUESTIONS: dict[str, tuple[Question, ...]] = {
    "grid_sample": (grid_order, grid_corners, grid_outside, grid_between), "affine_grid": (affine_points,),
    "glimpse": (glimpse_place,),
}
