"""Golden vectors: the cases of an operator as files, for implementations that cannot be called from Python.

    write("attention", "vectors/attention")             # inputs, exact answers, and how far one may be from them
    check("vectors/attention")                          # every byte is as it was written

    index.json          of each case its options, what it catches, and the name, shape and dtype of each array
    SHA256SUMS          of every file, as `sha256sum -c` reads it
    float32-plain_0.npz, float32-plain_0.safetensors, …         the arrays of one case, the same in every format

The names of the arrays, with the path of a leaf behind them where there are several ("arg.p.w1"):

    arg.q        an argument, in the precision's own dtype (bfloat16: in float32, of numbers that bfloat16 holds)
    option.mask  an option that is an array; the others stand in index.json
    dy           the cotangent of the output, which the gradients are asked for
    y, grad.q    the exact output and gradients, float64
    bound.y, bound.grad.q       the most that an honest implementation differs from them, element by element, float64;
                 infinite where a case says nothing: index.json counts these elements as "unbounded"

**An implementation is right where |got - y| ≤ bound.y for every element, and so for each gradient.**  The files are the
same whenever they are made on one machine; written whole or not at all.
"""

import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from visattn import __version__, catalogue, gradcheck, tree
from visattn._extras import need
from visattn.check import cases, precision, tolerance

SCHEMA = 1
KIND = "visattn golden vectors"
RULE = "right where |got - y| <= bound.y for every element, and so for each gradient: |got - grad.x| <= bound.grad.x"
FORMATS = ("npz", "safetensors")
PRECISIONS = ("float64", "float32", "float16", "bfloat16")
INDEX, SUMS = "index.json", "SHA256SUMS"


def write(op: str | ModuleType, folder: str | os.PathLike[str], precisions: Sequence[str] = PRECISIONS,
          formats: Sequence[str] = FORMATS, seed: int = 0, only: Iterable[str] | None = None,
          progress: Callable[[str], None] = lambda what: None) -> Path:
    """Write the vectors of an operator into a folder of their own, in place of vectors that are there.

    precisions  some of float64, float32, tf32, float16, bfloat16
    formats     some of npz, safetensors
    only        names of cases; None is all of them

    Raises LookupError for an operator or a case that there is not, ValueError for a precision or format that there is
    not, or if the folder holds anything else.
    """
    op = catalogue.select([op])[0] if isinstance(op, str) else op
    if not precisions or not formats:
        raise ValueError("golden vectors need at least one precision and one format")
    for p in precisions:
        precision.precision(p)
    if unknown := [f for f in formats if f not in FORMATS]:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}; got {unknown[0]!r}")
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and (is_ours(folder) or not any(folder.iterdir()))):
        raise ValueError(f"{folder} is there and holds something else: golden vectors are written into a folder of "
                         "their own")
    only = None if only is None else list(only)
    files: dict[str, bytes] = {}
    index: dict[str, Any] = {
        "kind": KIND, "schema": SCHEMA, "visattn": __version__, "operator": gradcheck.name_of(op),
        "signature": catalogue.signature(op), "rule": RULE, "seed": seed, "cases": []}
    for p in dict.fromkeys(precisions):
        for case in cases.cases(op, p, seed, only):
            progress(f"{p} {case.name}")
            index["cases"].append(one(op, case, p, dict.fromkeys(formats), files))
    if not files:
        raise ValueError(f"{gradcheck.name_of(op)} has no cases in {', '.join(precisions)}")
    files[INDEX] = (json.dumps(index, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    files[SUMS] = "".join(f"{sha256(files[name])}  {name}\n" for name in sorted(files)).encode()
    replace(folder, files)
    return folder


def one(op: ModuleType, case: cases.Case, p: str, formats: Iterable[str], files: dict[str, bytes]) -> dict[str, Any]:
    """What the index says of a case, whose files are added to `files`."""
    arrays = arrays_of(op, case, p)
    name = f"{p}-{case.name}"
    made = {f"{name}.{kind}": packed(kind, arrays, name) for kind in formats}
    files.update(made)
    plain = {key: {"array": f"option.{key}"} if tree.is_leaf(value) else plain_option(key, value)
             for key, value in case.options.items()}
    bounds = [a for key, a in arrays.items() if key.startswith("bound.")]
    return {"name": case.name, "precision": p, "catches": case.catches, "seed": case.seed, "layout": case.layout,
            "options": plain, "elements": sum(a.size for a in bounds),
            "unbounded": sum(int((~np.isfinite(a)).sum()) for a in bounds),
            "arrays": {key: {"shape": list(a.shape), "dtype": a.dtype.name} for key, a in arrays.items()},
            "files": {file: {"bytes": len(content), "sha256": sha256(content)} for file, content in made.items()}}


def plain_option(name: str, value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [plain_option(name, v) for v in value]
    raise TypeError(f"option {name} cannot be written to a file: {type(value).__name__}")


def arrays_of(op: ModuleType, case: cases.Case, p: str) -> dict[str, np.ndarray]:
    """Every array of a case by its name."""
    dtype = stored(p)
    found: dict[str, Any] = {}

    def add(prefix: str, values: Any, dtype: str) -> None:
        for path, leaf in tree.named_leaves(values):
            kind = dtype if np.asarray(leaf).dtype.kind == "f" else None
            found[f"{prefix}.{path}" if path else prefix] = np.array(leaf, kind, order="C")

    arguments = dict(zip(gradcheck.argument_names(op, case.args), case.args))
    for name, value in arguments.items():
        add(f"arg.{name}", value, dtype)
    for key, value in case.options.items():
        if tree.is_leaf(value):
            add(f"option.{key}", value, dtype)
    add("dy", case.dy, dtype)
    with np.errstate(all="ignore"):
        right = tolerance.bounds(op, case.args, case.options, case.dy, p)
    paths = {"y": [path for path, _ in tree.named_leaves(case.dy)]}
    paths |= {f"d{name}": [path for path, _ in tree.named_leaves(value)] for name, value in arguments.items()}
    parts = right.parts()
    for name, leaves in parts.items():
        named = "y" if name == "y" else f"grad.{name.removeprefix('d')}"
        for path, leaf in zip(paths[name], leaves, strict=True):
            add(f"{named}.{path}" if path else named, leaf.value, "float64")
            add(f"bound.{named}.{path}" if path else f"bound.{named}", leaf.error, "float64")
    return found


def stored(p: str) -> str:
    """The dtype that holds the numbers of a precision in a file."""
    dtype = precision.precision(p).dtype
    return "float32" if dtype == "bfloat16" else dtype


def packed(kind: str, arrays: dict[str, np.ndarray], name: str) -> bytes:
    """The arrays as the bytes of one file, which depend on them alone."""
    if kind == "safetensors":
        return need("safetensors.numpy").save(arrays, metadata={"case": name})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for key, a in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, a, version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{key}.npy", (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, member.getvalue())
    return file.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def is_ours(folder: Path) -> bool:
    """Was the folder made by `write`?"""
    try:
        return json.loads((folder / INDEX).read_bytes())["kind"] == KIND
    except (OSError, ValueError, LookupError, TypeError):
        return False


def replace(folder: Path, files: dict[str, bytes]) -> None:
    """The folder with these files and no others, or as it was."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    old = made / "old"
    try:
        new = made / "new"
        new.mkdir()
        for name, content in files.items():
            (new / name).write_bytes(content)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def check(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The index of a folder of vectors in which every byte is as it was written.

    Raises FileNotFoundError if there are no vectors, and ValueError that names the file if one is missing, changed or
    too many, or was written by a later version under another schema.
    """
    folder = Path(folder)
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(f"{folder} holds no golden vectors: there is no {INDEX} in it")
    if not (folder / SUMS).is_file():
        raise ValueError(f"{folder}: {SUMS} is missing, so nothing can be trusted; make the vectors again")
    sums = {}
    for row in (folder / SUMS).read_text("utf-8", "replace").splitlines():
        digest, gap, name = row.partition("  ")
        if not gap or len(digest) != 64 or Path(name).name != name:
            raise ValueError(f"{folder / SUMS} is damaged: {row[:80]!r} is not a checksum and a name")
        sums[name] = digest
    for name, digest in sorted(sums.items(), key=lambda item: (item[0] != INDEX, item[0])):
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path} is missing; make the vectors again")
        if sha256(path.read_bytes()) != digest:
            raise ValueError(f"{path} is not what was written: its SHA-256 differs; make the vectors again")
    if extra := sorted(p.name for p in folder.iterdir() if p.name not in {*sums, SUMS}):
        raise ValueError(f"{folder / extra[0]} is not one of these vectors: it is not in {SUMS}")
    if INDEX not in sums:
        raise ValueError(f"{folder / SUMS} is damaged: it does not name {INDEX}")
    index = json.loads((folder / INDEX).read_bytes())
    if index.get("kind") != KIND or index.get("schema") != SCHEMA:
        raise ValueError(f"{folder / INDEX} has schema {index.get('schema')!r} of {index.get('kind')!r}; "
                         f"this is visattn {__version__}, which reads schema {SCHEMA} of {KIND!r}")
    return index
