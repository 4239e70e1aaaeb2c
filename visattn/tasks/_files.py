"""Weights and checkpoints on disk: whole or not at all, and known to be what was written.

A safetensors file of named arrays, with a JSON record and a checksum of both in its metadata.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from visattn import __version__, _atomic, tree
from visattn._extras import need


class BadFile(ValueError):
    """A file of weights that cannot be read, or is of something else."""


def write(path: Path, arrays: dict[str, Any], record: dict[str, Any]) -> None:
    """Replace the file at once."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(record)
    about = json.dumps({"version": __version__, "sha256": checksum(arrays, text), "record": text})
    # One entry: the library writes several in any order, and equal runs are to give equal files.
    _atomic.write(path, need("safetensors.numpy").save(arrays, {"visattn": about}))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(arrays by name, record) of a file that `write` wrote; BadFile where it is not one, or not whole."""
    safetensors = need("safetensors")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}      # noqa: SIM118
        about = json.loads(metadata["visattn"])
        if about["sha256"] != checksum(arrays, about["record"]):
            raise BadFile(f"{path} is damaged: its checksum is not that of its contents")
        return arrays, json.loads(about["record"])
    except BadFile:
        raise
    except KeyError:
        raise BadFile(f"{path} was not written by visattn") from None
    except OSError:
        raise
    except Exception as error:           # the library's own, for a header or a length that is wrong
        raise BadFile(f"{path} is damaged or not a safetensors file: {' '.join(str(error).split())}") from None


def checksum(arrays: dict[str, Any], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def named(prefix: str, t: Any) -> dict[str, Any]:
    """{"prefix.path": array} of a tree."""
    return dict(tree.named_leaves(t, prefix))


def like(prefix: str, t: Any, arrays: dict[str, Any], path: Path) -> Any:
    """The tree built like t, of the arrays that `named` named; BadFile where one is missing or of another shape."""
    found = []
    for name, leaf in tree.named_leaves(t, prefix):
        if name not in arrays or arrays[name].shape != leaf.shape or arrays[name].dtype != leaf.dtype:
            raise BadFile(f"{path} holds no {name} of shape {leaf.shape} and dtype {leaf.dtype}")
        found.append(arrays[name])
    leaves = iter(found)
    return tree.map(lambda _: next(leaves), t)
