"""Lessons to notebooks.  A lesson is Markdown, readable as it stands; its notebook is built and executed from it.

    python lessons/build.py                 refresh quotations, then build and execute every notebook and its figures
    python lessons/build.py 01              only the lessons whose names start so
    python lessons/build.py --quotes        refresh quotations alone: after a change of an operator
    python lessons/build.py --check         execute everything, write nothing; exit status 1 where something is stale

In a lesson a block that opens with ```python path/to/module.py:name is a quotation: exactly the source of that
function, which the notebook shows from the installed package; ```cpp path/to/file.cu:name is that of a kernel.  A block
that opens with ```python exercise:operator has the stubs of that operator, to be filled in.  It and every other
```python block, an example, are cells of the notebook.  A picture on the line after an example,
![words](figures/name.png), is the figure which that cell draws: the notebook draws it itself, so there the line is
left out.
"""

import argparse
import base64
import hashlib
import io
import os
import re
import sys
from pathlib import Path

import numpy as np

from visattn import lessons

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parent / "notebooks"
BLOCK = re.compile(r"^```(?:python|cpp(?= +\S)) *(\S*)\n(.*?)^```\n", re.M | re.S)
PICTURE = re.compile(r"^!\[[^]]*\]\((figures/[\w-]+\.png)\)\n", re.M)
EXERCISE = "exercise:"
COLOURS = 96                             # of a figure: enough for a photograph, dithered
NUMBER = re.compile(r"([-+]?\d+\.?(\d*)(?:e([-+]?\d+))?)(%?)")
POINTS = 2                               # per cent by which a network trained on another processor may differ


def all_lessons(prefixes=()):
    return [path for path in sorted(HERE.glob("[0-9][0-9]-*.md")) if path.name.startswith(tuple(prefixes) or "")]


def blocks(text):
    """[(what is quoted or "", code)] of a lesson, in order."""
    return BLOCK.findall(text)


def with_quotations(text):
    """The lesson with every quotation as the source is today."""
    def today(match):
        where = match[1]
        return f"{match[0].partition(where)[0]}{where}\n{lessons.source(where)}```\n" if where else match[0]

    return BLOCK.sub(today, text)


def figures(text):
    """{number of the cell: file} of the pictures in a lesson, counting its python blocks from 0."""
    found, blocks_before = {}, 0
    for part in re.finditer(f"{BLOCK.pattern}|{PICTURE.pattern}", text, re.M | re.S):
        if part[0].startswith("!"):
            found[blocks_before - 1] = part[3]
        else:
            blocks_before += 1
    return found


def notebook(text):
    """The notebook of a lesson, not executed."""
    import jupytext

    def cell(match):
        if match[1].startswith(EXERCISE):
            return f"```python\n{match[2]}```\n"
        return f"```python\nquote(\"{match[1]}\")\n```\n" if match[1] else match[0]

    text = BLOCK.sub(cell, PICTURE.sub("", text))
    book = jupytext.reads(text, fmt={"extension": ".md", "split_at_heading": True})
    book.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    book.nbformat, book.nbformat_minor = 4, 5
    for i, cell in enumerate(book.cells):
        cell.metadata = {}
        cell.id = hashlib.sha256(f"{i} {cell.source}".encode()).hexdigest()[:12]       # the same every time
    return book


def execute(book):
    """Run a notebook and leave in it only what is the same on every machine."""
    from nbclient import NotebookClient

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")         # small matrices: a second thread only costs
    client = NotebookClient(book, timeout=300, record_timing=False, resources={"metadata": {"path": HERE}},
                            extra_arguments=["--log-level=ERROR"])
    client.execute()
    book.metadata["language_info"] = {"name": "python"}
    for cell in book.cells:
        cell.metadata = {}
        for output in cell.get("outputs", ()):
            image = output.get("data", {}).get("image/png")
            if image:
                small = smaller(base64.b64decode(image))
                output["data"] = {"image/png": base64.b64encode(small).decode(), "text/plain": "<Figure>"}
                output["metadata"] = {}
    return book


def smaller(png):
    """The same picture in at most COLOURS colours, and without a word on what drew it."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if len(picture.getcolors(2**24)) > COLOURS:
        palette = picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=1)        # rare colours survive
        colours = np.array(palette.getpalette()).reshape(-1, 3)
        colours[colours.min(axis=1) >= 248] = 255                                              # and paper stays white
        palette.putpalette(colours.ravel().tolist())
        picture = picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    buffer = io.BytesIO()
    picture.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def pictures(book):
    """{number of the code cell: PNG}: the last figure that each cell drew."""
    found = {}
    for i, cell in enumerate(cell for cell in book.cells if cell.cell_type == "code"):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                found[i] = base64.b64decode(output["data"]["image/png"])
    return found


def printed(book):
    """What each code cell printed or showed, figures aside."""
    texts = []
    for cell in book.cells:
        if cell.cell_type == "code":
            parts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
            texts.append("".join(parts))
    return texts


def same_words(one, two):
    """Are two printed texts alike, numbers to within a hundredth, or one of their last decimals?"""
    if NUMBER.sub(r"#\4", one) != NUMBER.sub(r"#\4", two):
        return False
    return all(abs(float(a) - float(b)) <= 1e-2 * abs(float(b)) + 1.001 * slack(decimals, exponent, per_cent)
               for (a, *_), (b, decimals, exponent, per_cent) in zip(NUMBER.findall(one), NUMBER.findall(two)))


def slack(decimals, exponent, per_cent):
    """By how much a number may be off that was printed with these decimals: none for an integer."""
    return POINTS if per_cent else 10.0 ** (int(exponent or 0) - len(decimals)) if decimals else 0


def sources(book):
    """What a reader of a notebook sees before running it."""
    return [(cell.cell_type, cell.source) for cell in book.cells]


def read_notebook(lesson):
    import nbformat

    path = NOTEBOOKS / f"{lesson.stem}.ipynb"
    return nbformat.read(path, 4) if path.exists() else None


def stale(lesson):
    """What of a lesson is not current, found without executing anything: sentences."""
    text = lesson.read_text(encoding="utf-8")
    found = []
    if text != with_quotations(text):
        found.append("quotes an older source: python lessons/build.py --quotes")
    book = read_notebook(lesson)
    if book is None or sources(book) != sources(notebook(text)):
        found.append(f"has another text than its notebook: python lessons/build.py {lesson.name[:2]}")
    else:
        quoted = [where for where, _ in blocks(text)]
        for where, shown in zip(quoted, printed(book), strict=True):
            if where and not where.startswith(EXERCISE) and lessons.source(where).rstrip() not in shown:
                found.append(f"has a notebook that shows an older {where}")
        drawn = pictures(book)
        for cell, file in figures(text).items():
            if not (HERE / file).exists() or (HERE / file).read_bytes() != drawn.get(cell):
                found.append(f"shows another picture than its notebook: {file}")
        if set(drawn) != set(figures(text)):
            found.append(f"does not show the figures of cells {sorted(set(drawn) - set(figures(text)))}")
    return found


def check(lesson):
    """`stale`, and what executing the notebook adds: sentences."""
    found = stale(lesson)
    book = execute(notebook(lesson.read_text(encoding="utf-8")))
    kept = read_notebook(lesson)
    if not found:
        for i, (now, then) in enumerate(zip(printed(book), printed(kept), strict=True)):
            if not same_words(now, then):
                found.append(f"prints something else in cell {i} today:\n{now}\nbut in the notebook:\n{then}")
    return found


def build(lesson):
    import nbformat

    text = lesson.read_text(encoding="utf-8")
    book = execute(notebook(text))
    drawn, shown = pictures(book), figures(text)
    if set(drawn) != set(shown):
        raise SystemExit(f"{lesson.name}: cells {sorted(drawn)} draw, but pictures follow cells {sorted(shown)}")
    for cell, file in shown.items():
        (HERE / file).parent.mkdir(exist_ok=True)
        (HERE / file).write_bytes(drawn[cell])
    NOTEBOOKS.mkdir(exist_ok=True)
    path = NOTEBOOKS / f"{lesson.stem}.ipynb"
    nbformat.write(book, path)
    print(f"{path.name}: {len(book.cells)} cells, {len(drawn)} figures, {path.stat().st_size / 1e6:.2f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lesson", nargs="*", help="numbers of lessons, such as 01; all of them where none is given")
    parser.add_argument("--quotes", action="store_true", help="refresh quotations alone")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something is stale")
    wanted = parser.parse_args()
    chosen = all_lessons(wanted.lesson)
    if not chosen:
        parser.error(f"no lesson starts with {' or '.join(wanted.lesson)}")
    if wanted.check:
        found = [f"{lesson.name} {sentence}" for lesson in chosen for sentence in check(lesson)]
        print("\n".join(found) or f"{len(chosen)} lessons are current and run")
        sys.exit(bool(found))
    for lesson in chosen:
        text = lesson.read_text(encoding="utf-8")
        fresh = with_quotations(text)
        if fresh != text:
            lesson.write_text(fresh, encoding="utf-8")
            print(f"{lesson.name}: quotations refreshed")
        if not wanted.quotes:
            build(lesson)


if __name__ == "__main__":
    main()
