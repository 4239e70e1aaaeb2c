"""Tests that are code of the instructor's.

    found = outcome(test, "assert ratio(1, 1) == 0.5, 'half of it'", answers, limits)

They run beside the answer, in its process, with the names that it defines: an answer that wants to can see them, and
change what they call.  They are as safe as tests in nbgrader, and not more; those of operators, which are judged from
outside, are.
"""

import re
import tempfile
from pathlib import Path

import numpy as np

from visattn.assignment.judging import Outcome
from visattn.assignment.records import UNWRITTEN, Test
from visattn.check import runner
from visattn.check.child.limits import Limits
from visattn.check.child.records import Spec

RUN = """

code_of_{name} = compile({source!r}, {file!r}, "exec")


def test_{name}(zero):
    exec(code_of_{name}, {{**globals()}})
    return zero
"""
PLACE = re.compile(r" \(answers\.py, line \d+: exec\(code_of_.*\)$", re.S)      # of ours, no line of the answer


def outcome(test: Test, source: str, answers: str, limits: Limits) -> Outcome:
    """Whether a test passes; what its assertion says, if not.

    answers     one file with all definitions, those that are given too
    """
    with tempfile.TemporaryDirectory(prefix="visattn-graded-") as folder:
        file = Path(folder, "answers.py")
        file.write_text(answers + RUN.format(name=test.name, source=source, file=f"<{test.name}>"), encoding="utf-8")
        spec = Spec(file=str(file), name=f"test_{test.name}", framework="numpy", op=test.name, arguments=("zero",))
        with runner.launch(spec, limits) as function:
            answer = function.call({"zero": np.zeros(1)}, {}, None, dtype="float64", repeat=1)
    said = [problem.says for problem in answer.problems if problem.kind not in ("aliases", "dtype")]
    if not said and answer.y:
        return Outcome(test.name, True, "right")
    says = next(iter(said), "it came to nothing")
    if "NotImplementedError" in says:
        says = UNWRITTEN
    says = PLACE.sub("", says).removeprefix("AssertionError: ")
    return Outcome(test.name, False, "what is tried does not hold" if says == "AssertionError" else says)
