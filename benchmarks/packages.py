"""The checker against implementations of other people: modules of public packages, each as an operator of visattn.

    python benchmarks/packages.py                       all of them, and the table in Markdown
    python benchmarks/packages.py --only timm CBAM      those whose name has one of these in it; with their reports

One file in `packages/` for each package; one that is not installed is left out, and said so.
"""

import argparse
import importlib
import json
import os
import sys
import time
import types
from importlib import metadata
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
HERE = Path(__file__).resolve().parent / "packages"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="parts of names")
    parser.add_argument("--json", help="also write what was found into this file")
    asked = parser.parse_args()
    sys.path.insert(0, str(HERE))
    beside_a_cpu_build()
    import torch
    from entries import ENTRIES, NOT_COMPARED

    from visattn import check
    from visattn.check.judge import run

    assert check
    torch.set_num_threads(1)
    for file in sorted(HERE.glob("for_*.py")):
        try:
            importlib.import_module(file.stem)
        except ImportError as error:
            print(f"left out: {file.stem.removeprefix('for_')}: {error}", file=sys.stderr)
    chosen = [e for e in ENTRIES if not asked.only or any(part in f"{e.subject} {e.op}" for part in asked.only)]
    found = []
    start = time.perf_counter()
    for e in chosen:
        report = run(e.op, e.function, framework="torch", options=e.options)
        print(f"{e.subject} as {e.op}: {report.verdict}, {report.seconds:.1f} s", file=sys.stderr, flush=True)
        if asked.only:
            print(report)
        package = e.subject.partition(".")[0]
        judged = sum(bool(case.ratios) for case in report.cases)
        worst = max((part.ratio for part in report.parts), default=float("nan"))
        found.append({"subject": e.subject, "package": package, "version": version(package), "op": e.op,
                      "verdict": report.verdict, "judged": judged, "cases": len(report.cases), "worst": worst,
                      "precisions": report.precisions, "says": report.says, "remark": e.remark,
                      "conventions": [f.value for f in report.findings if f.name == "convention"],
                      "parts": {part.name: part.verdict for part in report.parts}, "notes": report.notes})
    if asked.json:
        Path(asked.json).write_text(json.dumps(found, indent=1, default=str))
    print(table(found))
    for subject, why in NOT_COMPARED.items():
        print(f"- `{subject}`: {why}")
    print(f"{len(found)} modules, {time.perf_counter() - start:.0f} s", file=sys.stderr)


def beside_a_cpu_build() -> None:
    """Beside a CPU build of torch, torchvision's compiled operators may not load; its layers in Python do."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")


def version(package: str) -> str:
    """The version that is installed of what is imported under this name."""
    names = metadata.packages_distributions().get(package, [package])
    return metadata.version(names[0])


def table(found: list[dict]) -> str:
    """Markdown, a row for each module."""
    rows = ["| module | operator | verdict | cases answered | largest error / bound | the adapter |",
            "|---|---|---|---|---|---|"]
    for f in found:
        how = f["verdict"] + (f", by convention: {', '.join(f['conventions'])}" if f["conventions"] else "")
        rows.append(f"| `{f['subject']}` | `{f['op']}` | {how} | {f['judged']} of {f['cases']} | {f['worst']:.2g} | "
                    f"{f['remark']} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
