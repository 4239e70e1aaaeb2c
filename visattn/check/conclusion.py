"""The report: one verdict from those on the parts, and what else can be said of a function that is not right."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from visattn.check.calling import Calls
from visattn.check.cases import name_of
from visattn.check.diagnose import intermediates
from visattn.check.judgement import FAILED, HONEST, SEVERE, Judgement
from visattn.check.verdicts import ORDER, RIGHT, CaseResult, Finding, Part, Report, Suspect, Verdict

OF_CONVENTION = ("nothing to see", "causal mask", "corners")         # probes that compare with the reference's own


def conclude(calls: Calls, judgement: Judgement, findings: list[Finding]) -> Report:
    """The report on a judgement, and on what else was found."""
    parts = judgement.parts
    # A wrong formula matters more than the dtype in which it is given back.
    lighter = {part.name for part in parts if part.verdict == "contract"
               and judgement.broken(part.name, SEVERE, "contract") is None}
    first = min(parts, key=lambda part: ORDER.index("imprecise" if part.name in lighter else part.verdict)
                - (part.name in lighter) / 2 + 9 * (part.verdict == "unsupported"))
    verdict: Verdict = "unsupported" if parts[0].verdict == "unsupported" else first.verdict
    if verdict not in RIGHT and verdict != "unsupported":
        findings = [*findings, *look_closer(calls, parts, findings)]
    for stage, why in calls.left_out.items():
        calls.note(f"not judged in {stage}: {why}")
    unsupported = {(stage, problem.says) for (stage, _), found in judgement.problems.items() for problem in found
                   if problem.kind == "unsupported"}
    calls.note(*(f"not supported in {stage}: {says}" for stage, says in sorted(unsupported)))
    if not calls.accepts.gradient:
        calls.note("no gradient was given, and none was judged")
    calls.note(*judged_shares(judgement))
    return closed(calls, judgement, verdict, sentence(first, parts, findings), findings)


def judged_shares(judgement: Judgement) -> list[str]:
    """Notes where most of a part says nothing, because in this precision anything may be honest."""
    shares: dict[tuple[str, str], list[float]] = {}
    for (stage, _, part), c in judgement.compared.items():
        shares.setdefault((stage, part), []).append(c.judged)
    return [f"of {part}, only {np.mean(share):.0%} can be judged in {stage}: the rest hangs on decisions that honest "
            "arithmetic of this precision may take either way"
            for (stage, part), share in shares.items() if np.mean(share) < 0.5]


def look_closer(calls: Calls, parts: Sequence[Part], findings: Sequence[Finding]) -> list[Finding]:
    """What else can be said of a function that is not right."""
    from visattn.check import probes

    found = first_divergence(calls, findings)
    if parts[0].verdict not in ("wrong", "range"):
        return found

    def call(args: dict[str, Any], options: dict[str, Any]) -> Any:
        answer = calls.runner.call(args, options, None, dtype=calls.stages[0].dtype, layout="contiguous", repeat=1)
        return list(answer.y) if answer.y and not answer.problems else None

    calls.progress("probing")
    try:
        seen = probes.probe(calls.op, call, set(calls.accepts.takes))
    except Exception as error:                          # a probe is a help, never a reason to stop
        calls.note(f"the probes could not run: {error}")
        return found
    if any(f.name == "convention" for f in findings):
        seen = [f for f in seen if f.fine or not f.name.startswith(OF_CONVENTION)]
    return [*found, *seen]


def first_divergence(calls: Calls, findings: Sequence[Finding]) -> list[Finding]:
    """The first intermediate that the function names and has otherwise than the reference."""
    for stage in calls.stages:
        for (at, name), (case, answer) in calls.answers.items():
            if at != stage.name or not answer.inner or not answer.y:
                continue
            shared = []
            for inner, wanted in intermediates(calls.op, case):
                mine = answer.inner.get(inner)
                if mine is None or wanted.dtype.kind not in "fb" or mine.dtype.kind not in "fb":
                    continue
                shared.append(inner)
                if mine.shape != wanted.shape or not np.allclose(mine, wanted, 1e-3, 1e-5, equal_nan=True):
                    before = ", ".join(shared[:-1])
                    says = f"Of what you named, {inner} is the first that differs from the reference (case {name})"
                    says += f"; {before} agreed." if before else "."
                    return [Finding("first divergence", says, inner, False)]
        if findings:
            break
    return []


def closed(calls: Calls, judgement: Judgement | None, verdict: Verdict, says: str,
           findings: Sequence[Finding] = ()) -> Report:
    """The report, with the verdict that was found; without a judgement, of a function that was never called."""
    compared, problems_of = ({}, {}) if judgement is None else (judgement.compared, judgement.problems)
    results = []
    for (stage, name), (case, answer) in calls.answers.items():
        ratios = {part: c.worst for (s, n, part), c in compared.items()
                  if (s, n) == (stage, name)}
        verdicts: dict[str, Verdict] = {part: "pass" if r <= 1 else "imprecise" if r <= HONEST else "wrong"
                                        for part, r in ratios.items()}
        problems = problems_of.get((stage, name), answer.problems)
        verdicts |= {problem.part or "y": "contract" for problem in problems if problem.kind in SEVERE}
        verdicts |= {problem.part or "y": "failed" for problem in answer.problems if problem.kind in FAILED}
        results.append(CaseResult(name, stage, case.catches, ratios, verdicts, answer.seconds))
    return Report(name_of(calls.op), "", calls.accepts.framework, verdict, says,
                  tuple(p.name for p in calls.stages if p.name not in calls.left_out),
                  () if judgement is None else tuple(judgement.parts), tuple(results), tuple(findings),
                  tuple(calls.notes), (), 0.0, calls.accepts.takes)


def sentence(first: Part, parts: Sequence[Part], findings: Sequence[Finding]) -> str:
    """The whole in a sentence or two; `first` is the part that matters most."""
    if first.verdict in RIGHT:
        judged = [part.name for part in parts if part.verdict in RIGHT]
        worst = max((part.ratio for part in parts if part.verdict in RIGHT), default=0.0)
        convention = next((f" {f.says}" for f in findings if f.name == "convention"), "")
        return f"Right: {', '.join(judged)} within {worst:.2g} of the bound that honest arithmetic keeps.{convention}"
    if first.verdict == "unsupported":
        return f"Not judged: {first.says}"
    alike = [part.name for part in parts if (part.verdict, part.suspect) == (first.verdict, first.suspect)]
    if first.suspect is not None:
        held = " and ".join(str(f.value).replace("_", " ") for f in findings if f.name == "convention")
        beside = f", beside a convention: {held}" if held else ""
        return f"{first.verdict}: {', '.join(alike)}: {suspect_words(first.suspect)}{beside}."
    told = next((f" {f.says}" for f in findings if not f.fine and f.says not in first.says
                 and first.verdict in ("wrong", "range")), "")
    return f"{first.verdict}: {first.name}: {first.says}{told}"


def suspect_words(suspect: Suspect) -> str:
    """The name of a mistake, or the names of two, as words."""
    return " and ".join(suspect.names).replace("_", " ")
