"""An assignment from operators: one sheet, from which every target is made and every answer graded.

    sheet = of_operators("hw1", ["softmax", "attention"])
"""

import secrets
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from visattn import catalogue, ops
from visattn.assignment import derivation, exercise, source, variants
from visattn.assignment.exercise import Texts
from visattn.assignment.records import PARTS, Cell, Sheet, Test

SETUP = """import numpy as np
from typing import NamedTuple
from visattn.assignment import expect"""
STUDENT = 'student = ""'


def of_operators(name: str, names: Sequence[str], *, parts: Sequence[str] = ("forward", "backward"),
                 given: Sequence[str] | None = None, varied: bool = False, title: str = "",
                 points: int | None = None, lang: str = "en", written: bool = True, key: str = "") -> Sheet:
    """The sheet of an assignment on these operators.

    parts       what students write of each: forward, backward, derivation
    given       operators that they may call; None: those that the ones asked for are made of, without these
    varied      everybody has options and an order of axes of their own
    points      in all; None: what the tests say
    written     with questions to be answered in words
    key         from which hidden numbers are drawn; a new one where it is empty

    Raises LookupError for an operator that there is not, ValueError for what does not go together.
    """
    identifier(name, "NAME")
    modules = after_their_parts(operators(names))
    say = Texts(lang)
    parts = checked_parts(parts)
    for module in modules if "derivation" in parts else ():
        try:
            derivation.of(module)
        except derivation.Unavailable as why:
            raise ValueError(f"--parts: derivation: {why}; leave it out, or that operator") from None
    asked = [catalogue.describe(m).name for m in modules]
    may_call = _given(modules, asked, given)
    for module in modules if varied else ():
        for part in source.parts(module):
            if part in asked and variants.choices(getattr(ops, part)).number > 1:
                raise ValueError(f"--variants: {catalogue.describe(module).name} calls {part}, which has a variant of "
                                 "its own; leave one of them out")
    hidden = ("masks", "options", "edges", "gradients")

    cells: list[Cell] = []
    for number, module in enumerate(modules, 1):
        fixed = variants.fixed(module) if varied else None
        cells += exercise.of_operator(module, parts, say, number=number, fixed=fixed)
        cells += exercise.questions(module, say) if written else ()
    tried = [say(f"group.{what}") for what in hidden if any(c.test and c.test.hidden and c.name.endswith(what)
                                                            for c in cells)]
    opening = [Cell("text", "about", "\n\n".join([
        f"# {title or name}", say("how", hidden=say("hidden", groups=", ".join(tried)) if tried else "")]))]
    if varied:
        opening += [Cell("text", "variant_about", say("variant")), Cell("answer", "student", STUDENT)]
        cells = [cell._replace(source=f"{cell.source[:-1]}, mine=mine)") if cell.kind == "test" else cell
                 for cell in cells]
    setup = SETUP + (f', variant\n\nmine = variant("{name}", student, {asked!r})' if varied else "")
    opening.append(Cell("given", "setup", setup))
    if may_call:
        opening += [Cell("text", "given_about", say("given")), Cell("given", "given", source.given(may_call))]
    sheet = Sheet(name, title or name, (*opening, *cells), lang, tuple(asked), tuple(parts), tuple(may_call), varied,
                  "", key or secrets.token_hex(16))
    return sheet if points is None else with_points(sheet, points)


def operators(names: Sequence[str]) -> list[ModuleType]:
    """The modules of operators, each once; a model is none."""
    if not names:
        raise ValueError("--ops: name at least one operator; `visattn ops` lists them")
    for module in (modules := catalogue.select(names)):
        if catalogue.family_of(module) == "models":
            raise ValueError(f"--ops: {catalogue.describe(module).name} is a model; exercises are operators")
    return modules


def after_their_parts(modules: Sequence[ModuleType]) -> list[ModuleType]:
    """The modules, each after those of them that it calls: a notebook runs from its top to its bottom."""
    by_name = {catalogue.describe(module).name: module for module in modules}
    found: dict[str, ModuleType] = {}
    for name, module in by_name.items():
        found |= {part: by_name[part] for part in source.parts(module) if part in by_name and part not in found}
        found.setdefault(name, module)
    return list(found.values())


def checked_parts(parts: Sequence[str]) -> tuple[str, ...]:
    for part in parts:
        if part not in PARTS:
            raise ValueError(f"--parts: there is no {part!r}; there is {', '.join(PARTS)}")
    if not parts:
        raise ValueError(f"--parts: name at least one of {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in parts)


def identifier(name: str, what: str) -> str:
    """A name that can be that of files and of Python's."""
    if not (name.isidentifier() and name.isascii()):
        raise ValueError(f"{what} must be letters, digits and _, not beginning with a digit; got {name!r}")
    return name


def _given(modules: Sequence[ModuleType], asked: list[str], given: Sequence[str] | None) -> list[str]:
    parts = list(dict.fromkeys(part for module in modules for part in source.parts(module)))
    if given is None:
        return [part for part in parts if part not in asked]
    for name in given:
        if name not in dir(ops):
            raise LookupError(f"--given: there is no operator {name!r}")
        if name in asked:
            raise ValueError(f"--given: {name} is asked for, and cannot be given")
    whole = [*dict.fromkeys(part for name in given for part in (*source.parts(getattr(ops, name)), name))]
    for name in whole:
        if name in asked:
            raise ValueError(f"--given: {name} is part of what is given, and asked for")
    return whole


def with_points(sheet: Sheet, points: int) -> Sheet:
    """The sheet for so many points in all, in the proportions that it has; at least one for each graded cell."""
    graded = [cell for cell in sheet.cells if cell.test or cell.points]
    if points < len(graded):
        raise ValueError(f"--points: {points} do not add up: {len(graded)} graded cells need at least one each")
    weights = [cell.test.points if cell.test else cell.points for cell in graded]
    shares = _shares(points, weights)
    new = dict(zip((cell.name for cell in graded), shares, strict=True))

    def of(cell: Cell) -> Cell:
        if cell.test:
            return cell._replace(test=cell.test._replace(points=new[cell.name]))
        return cell._replace(points=new[cell.name]) if cell.points else cell

    return sheet._replace(cells=tuple(map(of, sheet.cells)))


def _shares(points: int, weights: list[int]) -> list[int]:
    """Whole numbers that sum to `points`, in these proportions, each at least 1: the largest remainders round up."""
    left, total = points - len(weights), sum(weights)
    exact = [left * weight / total for weight in weights]
    shares = [1 + int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (int(exact[i]) - exact[i], i))
    for i in by_remainder[:points - sum(shares)]:
        shares[i] += 1
    return shares


def reference(sheet: Sheet, op: str) -> ModuleType:
    """The module that says what is right for one of a sheet's operators."""
    if sheet.own:
        from visattn.assignment import own

        return own.module(op, sheet.own)
    return catalogue.select([op])[0]


def tests_of(sheet: Sheet) -> dict[str, list[Test]]:
    """{exercise: its tests}, in the order of the sheet."""
    found: dict[str, list[Test]] = {}
    for test in sheet.tests:
        found.setdefault(test.exercise, []).append(test)
    return found


def functions_of(op: str) -> dict[str, str]:
    """What an operator's functions are called in a sheet."""
    return {what: source.prefixed(op, what) for what in ("forward", "backward", "derivation")}


def variant_of(sheet: Sheet, student: str) -> dict[str, dict[str, Any]]:
    """The variant of each of a sheet's operators; {} where everybody has the same."""
    return variants.of(sheet.name, student, sheet.ops) if sheet.variants else {}
