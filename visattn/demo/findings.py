"""What the page shows: numbers, pictures and charts, section by section.  What it says of them is in the template."""

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from visattn import catalogue, plot
from visattn._extras import need
from visattn.check import verify
from visattn.demo import charts, look, page
from visattn.tasks import classify

Array = np.ndarray[Any, np.dtype[Any]]
NAMES = {"cnn": "gated CNN", "vit": "transformer", "stn": "spatial transformer"}


def proof(results: Sequence[verify.Result], seconds: float) -> SimpleNamespace:
    """What was verified, as a table and in numbers."""
    claims = {e.name: e.claim for e in catalogue.catalogue(r.name for r in results)}
    rows = []
    for r in results:
        values = [(r.forward_error, about), (r.gradient_error, about), (r.float32_error, "{:.1f}".format),
                  (r.forward_us, "{:,.0f}".format), (r.backward_us, "{:,.0f}".format)]
        rows.append(SimpleNamespace(
            name=r.name, family=r.family, claim=claims[r.name], passed=r.passed, problems=r.problems,
            cells=[(-1 if v is None else v, "-" if v is None else spell(v)) for v, spell in values]))
    return SimpleNamespace(
        rows=rows, words=typeset(verify.in_words(list(results))), seconds=seconds,
        operators=sum(r.family != "models" for r in results),
        passed=sum(r.passed for r in results), failed=sum(not r.passed for r in results),
        worst_gradient=about(max((r.gradient_error for r in results if r.gradient_error is not None), default=0.0)),
        limits=SimpleNamespace(forward=about(verify.FORWARD), gradient=about(verify.GRADIENT), float32=verify.FLOAT32))


def network(result: classify.Result) -> SimpleNamespace:
    return SimpleNamespace(name=NAMES[result.config.model], accuracy=percent(result.accuracy), seconds=result.seconds,
                           parameters=result.parameters, size=look.image_size(result.trained))


def learning(results: Sequence[classify.Result], data: Any) -> SimpleNamespace:
    def lines(what: str) -> list[charts.Line]:
        return [charts.Line(NAMES[r.config.model], [p["epoch"] for p in r.curve], [p[what] for p in r.curve])
                for r in results]

    lowest = min(0.8, *(r.accuracy for r in results))
    return SimpleNamespace(
        train=len(data.train.x), held_out=len(data.test.x),
        charts=[charts.line_chart(lines("loss"), x="epoch", y="cross-entropy, training", title="Loss", low=0),
                charts.line_chart(lines("accuracy"), x="epoch", y="held-out digits read right", title="Accuracy",
                                  low=lowest, high=1, percent=True)])


def patches(result: classify.Result, data: Any) -> SimpleNamespace:
    """The transformer's attention over held-out digits."""
    chosen = one_of_each(data.test)
    x = data.test.x[chosen]
    scores, cache = classify.forward(result.trained, x)
    maps = look.attention_maps(cache)
    side, (L, G) = classify.patch_of(result.config), maps.shape[1:3]
    rows, columns = x.shape[2] // side, x.shape[3] // side
    pictures = [page.Picture(f"A held-out {data.classes[label]}, read as {read} ({percent(p, 0)})", page.ink(image))
                for label, image, (read, p) in zip(data.test.labels[chosen], x, read_as(scores, data.classes))]
    inked = int(look.shrunk(x[0], rows, columns)[0].argmax())
    return SimpleNamespace(side=side, layers=L, heads=G, rows=rows, columns=columns, explorer=page.Explorer(
        "digits", pictures, maps, rows, columns, numbered("layer", L), numbered("head", G),
        {"layer": 0, "head": 0, "patch": inked, "query": inked}, token="The class token", pixelated=True))


def photo(result: classify.Result, picture: Any) -> SimpleNamespace:
    """Attention without weights over a photograph, and that of the transformer that has only seen digits."""
    tiles = look.cut(picture.x)
    source = page.Picture("A photograph", page.image(page.faded(tiles.x), "jpeg"))
    start = {"layer": 0, "head": 0, "patch": a_patch(tiles), "query": a_patch(tiles)}
    seen = look.by_transformer(result.trained, tiles)
    (L, G), (tall, wide) = seen.maps.shape[:2], seen.x.shape[1:]
    return SimpleNamespace(
        rows=tiles.rows, columns=tiles.columns, tall=tall, wide=wide, size=look.image_size(result.trained),
        negative=seen.negative,
        likeness=page.Explorer("likeness", [source], look.by_likeness(tiles)[None, None], tiles.rows, tiles.columns,
                               ["no weights"], list(look.HEADS), start),
        transformer=page.Explorer(
            "photo", [source], seen.maps[None], tiles.rows, tiles.columns, numbered("layer", L), numbered("head", G),
            start, token="The class token", seen=page.image(seen.x),
            seen_caption=f"All that the network sees of it: {tall} × {wide} grey pixels."))


def channels(result: classify.Result, data: Any) -> SimpleNamespace:
    """The mean gate of every channel, digit by digit."""
    _, cache = classify.forward(result.trained, data.test.x)
    tables = []
    for i, gate in enumerate(look.gates(cache)):
        means = np.stack([gate.channels[data.test.labels == c].mean(0) for c in range(len(data.classes))])
        tables.append(charts.gate_table(means, data.classes, x="channel", y="digit", low=0, high=1,
                                        title=f"Block {i}: the mean gate of each of {means.shape[1]} channels"))
    return SimpleNamespace(charts=tables, held_out=len(data.test.x))


def places(result: classify.Result, data: Any, picture: Any) -> SimpleNamespace | None:
    """The spatial gate over digits and a photograph; None where the network has none."""
    chosen = one_of_each(data.test)
    x = data.test.x[chosen]
    _, cache = classify.forward(result.trained, x)
    block, gate = next(((i, g) for i, g in enumerate(look.gates(cache)) if g.places is not None), (0, None))
    if gate is None:
        return None
    low, high = np.percentile(gate.odds, (2, 98))
    digits = [page.Figure(page.ink(image), image.shape[2], image.shape[1], f"A {label} with the gate over it",
                          f"a {label}", glow=page.glow(odds, low, high))
              for image, label, odds in zip(x, data.test.labels[chosen], gate.odds)]
    seen, negative = look.as_ink(picture.x, 64, 96)
    _, cache = classify.forward(result.trained, seen[None])
    over = look.gates(cache)[block].odds[0]
    least, most = np.percentile(over, (2, 98))
    (tall, wide), pale = picture.x.shape[1:], 0.35 + 0.65 * page.faded(picture.x, 1.0)
    return SimpleNamespace(
        block=block, low=f"{low:.1f}", high=f"{high:.1f}", mostly=f"{np.percentile(gate.places, 2):.2f}",
        ink=on_and_off(x[:, 0], gate.odds), photo_ink=on_and_off(seen[0], over), negative=negative,
        size=look.image_size(result.trained), tall=seen.shape[1], wide=seen.shape[2], digits=digits, photo=[
            page.Figure(page.image(seen), wide, tall, "A small grey photograph", "What the network sees."),
            page.Figure(page.image(pale, "jpeg"), wide, tall, "The photograph with the gate over it",
                        f"The photograph, and the log-odds of the gate over it: {least:.0f} (clear) to {most:.0f}.",
                        pixelated=False, glow=page.glow(over, least, most))])


def on_and_off(ink: Array, values: Array) -> list[str]:
    """The mean value where there is ink, and where there is none."""
    return [f"{float((w * values).sum() / w.sum()):.1f}" for w in (ink, 1 - ink)]


def windows(result: classify.Result) -> SimpleNamespace:
    """Where a spatial transformer's grid lies, and what it sees there."""
    data = classify.load_data(result.config.data)
    x, labels = data.test.x, data.test.labels
    scores, cache = classify.forward(result.trained, x)
    u, v = plot.pixels(cache.grid, x.shape[2:], align_corners=False)
    read = read_as(scores, data.classes)
    figures = []
    for i in np.concatenate([one_of_each(data.test, nth=n) for n in (1, 2)]):
        outline, top = page.outline(u[i], v[i])
        meant = data.classes[labels[i]]
        figures.append(page.Figure(
            page.ink(x[i]), x.shape[3], x.shape[2], f"A {meant} on a canvas, and the frame that is looked at",
            f"a {meant}" if read[i][0] == meant else f"a {meant}, read as {read[i][0]}", frame=outline, frame_top=top,
            then=page.ink(cache.view[i])))
    ink = x[:, 0] / x[:, 0].sum((1, 2), keepdims=True)
    H, W = x.shape[2:]
    digit = np.stack([(ink.sum(1) * (np.arange(W) + 0.5)).sum(1), (ink.sum(2) * (np.arange(H) + 0.5)).sum(1)])
    frame = np.stack([u.mean((1, 2)), v.mean((1, 2))])
    middle = np.array([[W / 2], [H / 2]])
    return SimpleNamespace(
        figures=figures, canvas=look.image_size(result.trained), view=cache.view.shape[-1],
        off=f"{np.hypot(*(frame - digit)).mean():.1f}", centre_off=f"{np.hypot(*(middle - digit)).mean():.1f}")


def hero(picture: Any) -> page.Figure:
    """A photograph, and what a patch of it looks at when nothing is learned: likeness of colour."""
    tiles = look.cut(picture.x)
    at = a_patch(tiles)
    (high, wide), (H, W) = tiles.size, tiles.x.shape[1:]
    weights = look.by_likeness(tiles)[0, at].reshape(tiles.rows, tiles.columns)
    return page.Figure(
        page.image(page.faded(tiles.x, 0.5), "jpeg"), W, H, "A photograph with the attention of one patch over it",
        "Where the framed patch looks, by likeness of colour alone. Choose a patch of your own further down.",
        pixelated=False, glow=page.glow(weights, low=0),
        marks=[(at % tiles.columns * wide, at // tiles.columns * high, wide, high)])


def a_patch(tiles: look.Tiles) -> int:
    """The number of a patch in the upper left third, where pictures like to have something."""
    return int(tiles.rows * 0.34) * tiles.columns + int(tiles.columns * 0.3)


def one_of_each(split: Any, nth: int = 1, classes: int = 10) -> Array:
    """The place of the nth image of each class, from 0."""
    return np.array([np.flatnonzero(split.labels == c)[nth] for c in range(classes)])


def read_as(scores: Array, classes: Sequence[str]) -> list[tuple[str, float]]:
    """[(class, probability)] of the best class of each row."""
    e = np.exp(scores - scores.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    return [(classes[i], float(row[i])) for row, i in zip(p, p.argmax(1))]


def numbered(what: str, n: int) -> list[str]:
    return [f"{what} {i}" for i in range(n)]


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}\u202f%"


def about(number: float) -> Any:
    """3e-10, as people write it: 3 × 10⁻¹⁰."""
    return "0" if number == 0 else typeset(f"{number:.0e}")


def typeset(text: str) -> Any:
    """The text as markup, with every 3e-10 in it as 3 × 10⁻¹⁰."""
    markup = need("markupsafe").Markup
    powers = re.sub(r"(\d)e([+-]?\d+)", lambda m: f"{m[1]} × 10<sup>{str(int(m[2])).replace('-', '−')}</sup>",
                    str(markup.escape(text)))
    return markup(powers)
