"""A report for people and for programs.

    print(report.text(found))                   plain text; `show` draws the same on a Rich console
    json.dumps(report.as_json(found))           described field by field in `visattn.check.schema`
    report.html(found)                          a page of its own, or a part of one: see `visattn.check.page`

The first line is the verdict.  What is right is said in few words; of what is not, the sentence of a teacher, the line
of the reference beside the line that gives these answers, and where the error sits.
"""

import io
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from visattn.check import words
from visattn.check.page import html
from visattn.check.schema import as_json
from visattn.check.verdicts import Finding, Map, Part, Report, Suspect

__all__ = ["as_json", "html", "show", "text"]

STYLE = {"right": "green", "other": "yellow", "wrong": "red"}
SHADES = "·░▒▓█!"                       # within the bound, then ever further, then not finite
ROWS, COLUMNS = 16, 48


def text(report: Report, verbose: bool = False, width: int = 110) -> str:
    """The report as plain text; `verbose` adds every case and what was found to be in order."""
    file = io.StringIO()
    show(report, Console(file=file, width=width, force_terminal=False, color_system=None, highlight=False,
                         legacy_windows=False), verbose)
    return "\n".join(row.rstrip() for row in file.getvalue().splitlines()) + "\n"


def show(report: Report, console: Console, verbose: bool = False) -> None:
    """Print the report on a Rich console."""
    tone = words.tone_of(report)
    console.print(Text(f"{words.MARK[tone]} ", STYLE[tone]) + Text(words.headline(report), f"bold {STYLE[tone]}"))
    console.print(Text(f"{words.line(report.op)}, as {words.line(report.implementation)} has it"
                       f" ({words.line(report.framework)}): {words.judged(report)}; {report.seconds:.1f} s", "dim"))
    if report.passed:
        console.print(Text(words.largest(report)))
    if any(part.case for part in report.parts) and (verbose or report.verdict != "pass"):
        console.print()
        console.print(parts_table(report))
        console.print(Text(words.BOUND, "dim"))
    for parts in words.groups(report):
        console.print()
        console.print(in_full(report, parts))
    findings = [f for f in report.findings if verbose or not f.fine or f.name == "convention"]
    if findings:
        console.print("\n[bold]What was seen on the way[/bold]")
        for finding in sorted(findings, key=lambda f: f.fine):
            console.print(found(finding))
    if verbose and report.cases:
        console.print()
        console.print(cases_table(report))
    remarks = [("Note", note) for note in report.notes]
    if report.isolation:
        remarks += [("Ran", item) for item in report.isolation] if verbose else [("Ran", words.isolation(report))]
    if remarks:
        console.print()
    for what, remark in remarks:
        console.print(hanging(f"{what}: ", Text(words.line(remark), "dim"), "dim"))


def parts_table(report: Report) -> Table:
    """One row for the output and each gradient."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for name in ("", "verdict", "worst error", "precision", "case"):
        table.add_column(name, justify="right" if name == "worst error" else "left", overflow="fold")
    for part in report.parts:
        tone = words.tone(part)
        table.add_row(Text(words.line(part.name), "bold"),
                      Text(f"{words.MARK[tone]} {words.word(part)}", STYLE[tone]),
                      Text(words.number(part.ratio) if words.measured(part) else "-"),
                      Text(words.line(part.precision) if part.case else "-"), Text(words.line(part.case) or "-"))
    return table


def in_full(report: Report, parts: list[Part]) -> Group:
    """Everything about parts that are not simply right, of which the same is said."""
    part = parts[0]
    rows: list[Any] = [Text(words.clean(part.says))] if part.says else []
    rows += [Text(words.consistent(part))] if words.consistent(part) else []
    if part.suspect:
        rows += about(report, part, part.suspect)
    for each in parts:
        if each.map:
            rows += [Text(words.place(each, each.map)), Text(words.seen(each.map)), *drawn(each.map)]
    title = Text(f"{words.several(p.name for p in parts)}: {words.word(part)}", f"bold {STYLE[words.tone(part)]}")
    return Group(title, *(Padding(row, (0, 0, 0, 2), expand=False) for row in rows))


def about(report: Report, part: Part, suspect: Suspect) -> Iterator[Any]:
    """The mistake or convention that a part's answers fit."""
    if suspect.says and words.line(suspect.says) not in words.line(part.says):
        yield Text(words.clean(suspect.says))
    if suspect.line:
        yield difference(suspect)
    if suspect.see:
        yield Text(f"Read: {words.line(suspect.see)}.")
    yield Text(words.evidence(report, suspect))
    if suspect.rivals:
        yield Text(f"These answers fit as well: {words.several(suspect.rivals)}.")


def difference(suspect: Suspect) -> Table:
    """The reference's line over the line that gives these answers."""
    where = words.several(words.file_of(o) for o in suspect.operators)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for sign, lines, label, style in (("-", suspect.line, "the reference", "green"),
                                      ("+", suspect.instead, "gives your answers", "yellow")):
        for i, code in enumerate(words.clean(lines).strip("\n").splitlines()):
            table.add_row(Text(label if i == 0 else "", "dim"), Text(f"{sign} {code}", style))
    title = Text(f"in {where}:", "dim") if where else Text("")
    shown = Table.grid()
    shown.add_row(title)
    shown.add_row(Padding(table, (0, 0, 0, 2)))
    return shown


def drawn(m: Map) -> Iterator[Any]:
    """The map as characters: the table with the largest error."""
    picture = words.picture(m, ROWS, COLUMNS, 1)
    if picture is None or m.ratio.size < 2:
        return
    index, table = picture.tables[0]
    ends = words.limits(table, len(SHADES) - 2)
    levels = words.level(table, ends)
    if (levels == levels[0, 0]).all():
        return
    at = f" at {picture.axis} = {index}" if picture.axis else ""
    cell = "" if picture.block == (1, 1) else f", each cell the worst of {picture.block[0]} × {picture.block[1]}"
    down = f"{picture.rows} down, " if picture.rows else ""
    shades = Text(f"Where{at}: {down}{picture.columns} across{cell}\n", "dim")
    for row in levels:
        shades.append("  " + " ".join(SHADES[min(i, len(ends) - 1) if i < len(ends) else -1] for i in row) + "\n")
    used = [f"{SHADES[0]} within the bound"]
    used += [f"{SHADES[i]} up to {words.number(end)}" for i, end in enumerate(ends) if i and (levels == i).any()]
    used += [f"{SHADES[-1]} not finite"] if (levels == len(ends)).any() else []
    shades.append("  ".join(used), "dim")
    yield shades


def found(finding: Finding) -> Any:
    mark = "✓ " if finding.fine else "✗ "
    says = Text(words.line(finding.name) + ": " if finding.name else "", "bold") + Text(words.line(finding.says))
    return hanging(mark, says, STYLE["right" if finding.fine else "wrong"])


def hanging(mark: str, body: Text, style: str) -> Table:
    """A mark, and text that stays to the right of it."""
    table = Table.grid(padding=0)
    table.add_row(Text(mark, style), body)
    return table


def cases_table(report: Report) -> Table:
    """Every case: what it is there for, and the largest error in it."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for name in ("case", "precision", "worst", "in", "what it is there for"):
        table.add_column(name, justify="right" if name == "worst" else "left", overflow="fold")
    conventions = {part.name for part in report.parts if words.convention(part)}
    for case in report.cases:
        name, ratio = worst_of(case.ratios)
        fine = not any(verdict in words.WRONG and part not in conventions for part, verdict in case.verdicts.items())
        table.add_row(Text(words.line(case.name)), Text(words.line(case.precision)),
                      Text(words.number(ratio), "" if fine else "red"), Text(name),
                      Text(words.line(case.catches), "dim"))
    return table


def worst_of(ratios: dict[str, float]) -> tuple[str, float | None]:
    """("dk", 2.3e4): the part with the largest error; ("", None) where nothing was judged."""
    known = {k: float("inf") if v != v else v for k, v in ratios.items() if v is not None}
    name = max(known, key=lambda k: known[k], default="")
    return words.line(name), known.get(name)
