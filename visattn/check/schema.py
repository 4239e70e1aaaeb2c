"""A report as JSON: `report.as_json(found)`, which `visattn check --json` prints.

Numbers that JSON does not have are the strings "inf", "-inf" and "nan"; null is what was not measured.  Verdicts are
failed, contract, range, wrong, precision, imprecise, pass, unsupported: `visattn.check.verdicts` says what each means.
Fields are added under the same number; one that changes its meaning raises it.

| field | |
|---|---|
| `schema` | 1 |
| `visattn` | the version that judged |
| `op` | the operator |
| `implementation` | what was checked, such as "student.py:attention" |
| `framework` | numpy, torch, jax, cupy, numba, triton |
| `passed` | true only if everything that was judged is right |
| `verdict` | the worst of the parts |
| `says` | the whole in a sentence or two |
| `precisions` | those it was checked in |
| `seconds` | that it took |
| `parts` | the output and each gradient |
| `parts[].name` | "y", or "d" and the argument's name |
| `parts[].verdict` | the verdict on it |
| `parts[].says` | one or two sentences |
| `parts[].ratio` | the largest error in bounds: 1 is the most that honest arithmetic loses |
| `parts[].precision` | of the case it occurred in |
| `parts[].case` | the name of that case |
| `parts[].consistent` | a gradient that is right for the function's own, wrong, output |
| `parts[].suspect` | the mistake or convention that the answers fit; null if none does |
| `parts[].suspect.names` | one name, or those of two that were made together |
| `parts[].suspect.operators` | the modules whose lines they are |
| `parts[].suspect.says` | what it is, in words |
| `parts[].suspect.see` | where to read on |
| `parts[].suspect.line` | the line of the reference |
| `parts[].suspect.instead` | the line that gives the same answers |
| `parts[].suspect.convention` | the library that means it so; "" for a mistake |
| `parts[].suspect.evidence` | cases that tell it from the reference |
| `parts[].suspect.rivals` | other names that fit as well |
| `parts[].map` | where the error sits in the worst case; null if there is none |
| `parts[].map.case` | the name of that case |
| `parts[].map.axes` | letters of the axes that are kept |
| `parts[].map.shape` | of the whole array |
| `parts[].map.worst` | index of the largest error in it |
| `parts[].map.got` | the function's number there |
| `parts[].map.wanted` | the reference's |
| `parts[].map.bound` | the most that they may differ by |
| `parts[].map.ratio` | error over bound as nested lists over `axes`; null above 1,024 numbers |
| `cases` | every case of every precision |
| `cases[].name` | of the case |
| `cases[].precision` | it was judged in |
| `cases[].catches` | what it is there for |
| `cases[].ratios` | of each part the largest error in bounds |
| `cases[].verdicts` | of each part |
| `cases[].seconds` | that it took |
| `findings` | what probes, identities and intermediates show |
| `findings[].name` | of the finding |
| `findings[].says` | it in words |
| `findings[].value` | it as numbers, strings, lists; null if there is nothing to add, or too much |
| `findings[].fine` | whether it is as it should be |
| `notes` | how arguments were matched, what was left out and why |
| `isolation` | the protections that the function ran in |
| `takes` | the operator's arguments and options that the function has a place for |
"""

import math
from typing import Any

import numpy as np

from visattn import __version__
from visattn.check.verdicts import Map, Report

SCHEMA = 1
MOST = 1024                             # numbers of a map or a finding


def as_json(report: Report) -> dict[str, Any]:
    """The report in plain values, which `json.dumps(…, allow_nan=False)` takes."""
    whole = report._asdict()
    return plain({
        "schema": SCHEMA, "visattn": __version__,
        **{name: whole[name] for name in ("op", "implementation", "framework")},
        "passed": report.passed,
        **{name: whole[name] for name in ("verdict", "says", "precisions", "seconds")},
        "parts": [{"name": p.name, "verdict": p.verdict, "says": p.says, "ratio": p.ratio, "precision": p.precision,
                   "case": p.case, "consistent": p.consistent, "suspect": p.suspect,
                   "map": None if p.map is None else map_as_json(p.map)} for p in report.parts],
        "cases": report.cases,
        "findings": [{**f._asdict(), "value": f.value if size(f.value) <= MOST else None} for f in report.findings],
        "notes": report.notes, "isolation": report.isolation, "takes": report.takes,
    })


def map_as_json(m: Map) -> dict[str, Any]:
    return {**m._asdict(), "ratio": np.asarray(m.ratio) if np.size(m.ratio) <= MOST else None}


def size(value: Any) -> int:
    """How many plain values there are in it."""
    if isinstance(value, dict):
        return sum(map(size, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(size, value))
    return int(np.size(value))


def plain(value: Any) -> Any:
    """Objects, lists, strings, booleans, integers and finite numbers; others as strings."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {text(key): plain(v) for key, v in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, (bool, int)) else text(value)


def text(value: Any) -> str:
    """A string that UTF-8 can hold: what a checked function says need not be one."""
    return str(value).encode("utf-8", "replace").decode()
