"""The marks of a class as tables: scores.csv for a learning system, scores.json for programs.

`scores.json`, whose fields are added to under the same number:

| field | |
|---|---|
| `schema` | 1 |
| `visattn` | the version that graded |
| `assignment` | its name |
| `out_of` | points of all tests; answers in words are not among them |
| `by_hand` | points of the questions in words, which a person gives |
| `tests` | of each test: name, points, asks, hidden |
| `students` | by name |
| `students[].student` | as the folder of submissions has it |
| `students[].status` | "graded"; "unreadable": there is nothing to grade; "stopped": its worker hung or died |
| `students[].points` | of the tests that passed |
| `students[].tests` | {test: points that it earned} |
| `students[].mistakes` | names of the known mistakes in its answers |
| `students[].written` | questions that were answered in words |
| `students[].problem` | why it could not be graded; "" if it was |
| `students[].notes` | what was repaired, and what an instructor should look at |

`scores.csv` has a line for each student: student, points, out_of, percent, status, a column for each test, problem.
Neither has a time in it, nor anything else that is not the same in the next run.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

from visattn import __version__, _atomic
from visattn.assignment.classroom import Graded
from visattn.assignment.records import Sheet

SCHEMA = 1


def as_json(sheet: Sheet, found: list[Graded]) -> dict[str, Any]:
    """The marks in plain values, as scores.json has them."""
    return {
        "schema": SCHEMA, "visattn": __version__, "assignment": sheet.name,
        "out_of": sum(test.points for test in sheet.tests), "by_hand": sum(cell.points for cell in sheet.cells),
        "tests": [{"name": t.name, "points": t.points, "asks": t.asks, "hidden": t.hidden} for t in sheet.tests],
        "students": [_row(sheet, graded) for graded in found],
    }


def _row(sheet: Sheet, graded: Graded) -> dict[str, Any]:
    passed = {o["test"] for o in graded["outcomes"] if o["passed"]}
    return {
        "student": graded["student"], "status": graded["status"], "points": graded["points"],
        "tests": {test.name: test.points * (test.name in passed) for test in sheet.tests},
        "mistakes": sorted({name for o in graded["outcomes"] for name in o["mistakes"]}),
        "written": sorted(graded["written"]), "problem": graded["problem"], "notes": graded["notes"],
    }


def as_csv(table: dict[str, Any]) -> str:
    """scores.csv, from what scores.json has.  A spreadsheet must not take a name for a formula."""
    text = io.StringIO()
    tests = [test["name"] for test in table["tests"]]
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["student", "points", "out_of", "percent", "status", *tests, "problem"])
    for row in table["students"]:
        percent = f"{100 * row['points'] / table['out_of']:.1f}" if table["out_of"] else ""
        lines.writerow([_plain(row["student"]), row["points"], table["out_of"], percent, row["status"],
                        *(row["tests"][name] for name in tests), _plain(row["problem"])])
    return text.getvalue()


def _plain(text: str) -> str:
    text = " ".join(text.split())
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def write(sheet: Sheet, found: list[Graded], out: str | Path) -> list[Path]:
    """scores.csv and scores.json."""
    table = as_json(sheet, found)
    return [_atomic.write(Path(out, "scores.csv"), as_csv(table).encode("utf-8", "replace")),
            _atomic.write(Path(out, "scores.json"), (json.dumps(table, indent=1) + "\n").encode())]
