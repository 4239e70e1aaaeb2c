"""How a check and the process of the checked function talk: a JSON header and the raw bytes of its arrays.

    for part in pack({"kind": "call", "args": {"x": x}}):       # → 16 bytes of lengths, header, arrays
        write(part)
    head, body = lengths(sixteen_bytes, most)                   # refuses what is too long before it is read
    message = unpack(header, blob)                              # refuses all that does not add up

Nothing is executed in reading a message, as it would be with pickle.  Whoever reads one that came from the checked
function must still look at every field: `answer_from` and `accepts_from` do, and make records of it.  Anything that
is not as it should be raises `Forged`.
"""

import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from .records import Accepts, Answer, Problem

LENGTHS = struct.Struct("<QQ")          # of the header, of all arrays together
HEADER = 1 << 20                        # a longer header is refused
ARRAYS = 256                            # more of them in one message are refused
AXES = 32
DEPTH = 16
TEXT = 2000                             # of a longer text only so many characters are kept
DTYPES = {name: np.dtype(name).newbyteorder("<") for name in (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "complex64", "complex128")}
KINDS = ("mutated", "aliases", "changing", "shape", "dtype", "device", "missing", "raised", "unsupported", "resource",
         "crash", "forged")

# Taken now, so that what the checked function does to these modules later changes nothing here.
_dumps, _loads, _array, _ascontiguous = json.dumps, json.loads, np.array, np.ascontiguousarray
_ndarray, _generic, _frombuffer = np.ndarray, np.generic, np.frombuffer


class Forged(ValueError):
    """A message that no honest side would have sent."""


def pack(message: dict[str, Any]) -> list[bytes | memoryview]:
    """The message in parts, to be written one after the other; TypeError names what cannot be sent."""
    arrays: list[np.ndarray] = []
    header = _dumps(_plain(message, arrays)).encode()
    parts: list[bytes | memoryview] = [b"", header]
    for array in arrays:
        if array.nbytes:                # a memoryview of nothing cannot be cast
            parts.append(memoryview(array.reshape(-1).view(np.uint8)))  # type: ignore[arg-type]
    parts[0] = LENGTHS.pack(len(header), sum(a.nbytes for a in arrays))
    return parts


def lengths(prefix: bytes, most: int) -> tuple[int, int]:
    """Bytes of the header and of the arrays that follow; Forged if they are more than HEADER and `most`."""
    header, blob = LENGTHS.unpack(prefix)
    if header > HEADER:
        raise Forged(f"a header of {header} bytes")
    if blob > most:
        raise Forged(f"arrays of {blob} bytes, where {most} are allowed")
    return header, blob


def unpack(header: bytes, blob: bytes | bytearray) -> dict[str, Any]:
    """The message; its arrays are copies in this machine's byte order."""
    try:
        tree = _loads(bytes(header).decode())
    except (ValueError, RecursionError) as error:
        raise Forged(f"a header that is not JSON ({type(error).__name__})") from None
    taken = _Taken(blob)
    message = _whole(tree, taken, 0)
    if taken.at != len(blob):
        raise Forged(f"{len(blob) - taken.at} bytes too many")
    if not isinstance(message, dict):
        raise Forged("a header that is not a table")
    return message


def _plain(value: Any, arrays: list[np.ndarray]) -> Any:
    """What JSON can say of it; the arrays are put aside in the order in which they are met."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (_ndarray, _generic)):
        array = _array(value, subok=False, copy=None)
        name = array.dtype.newbyteorder("=").name
        if name not in DTYPES:
            raise TypeError(f"an array of {name} cannot be sent")
        array = _ascontiguous(array.astype(DTYPES[name], copy=False)).reshape(array.shape)
        arrays.append(array)
        return {"scalar" if isinstance(value, _generic) else "array": [name, list(array.shape)]}
    if isinstance(value, dict):
        if not all(type(key) is str for key in value):
            raise TypeError("a table whose keys are not texts cannot be sent")
        return {"table": [[key, _plain(item, arrays)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_plain(item, arrays) for item in value]}
    if isinstance(value, list):
        return [_plain(item, arrays) for item in value]
    for kind in (bool, int, float, str):                        # an enumeration, say
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"a {type(value).__name__} cannot be sent")


class _Taken:
    """Arrays cut one after the other from the bytes that came."""

    def __init__(self, blob: bytes | bytearray):
        self.blob, self.at, self.count = memoryview(blob), 0, 0

    def array(self, claim: Any) -> np.ndarray:
        """The next array, if dtype, shape and what is left of the bytes agree."""
        self.count += 1
        if self.count > ARRAYS:
            raise Forged(f"more than {ARRAYS} arrays")
        if not (isinstance(claim, list) and len(claim) == 2 and isinstance(claim[1], list)):
            raise Forged("an array without dtype and shape")
        name, shape = claim
        if not (isinstance(name, str) and name in DTYPES):
            raise Forged("an array of an unknown dtype")
        if len(shape) > AXES or not all(type(n) is int and 0 <= n < 1 << 62 for n in shape):
            raise Forged("an array whose shape is not one")
        dtype, items = DTYPES[name], math.prod(shape)
        if items * dtype.itemsize > len(self.blob) - self.at or (not items and max(shape, default=0) >= 1 << 31):
            raise Forged(f"an array of shape {tuple(shape)} that did not come"[:200])
        flat = _frombuffer(self.blob, np.uint8, items * dtype.itemsize, self.at)
        self.at += items * dtype.itemsize
        if name == "bool":
            flat = (flat != 0).view(np.uint8)                   # a byte of 2 would be a bool that is neither
        try:
            return flat.copy().view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
        except ValueError:                                      # of an empty one whose sizes multiply to too much
            raise Forged("an array whose shape is not one") from None


def _whole(tree: Any, taken: _Taken, depth: int) -> Any:
    """The value again that `_plain` took apart."""
    if depth > DEPTH:
        raise Forged("tables in tables in tables")
    if isinstance(tree, list):
        return [_whole(item, taken, depth + 1) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) != 1:
        raise Forged("a table of an unknown form")
    (form, claim), = tree.items()
    if form in ("array", "scalar"):
        array = taken.array(claim)
        if form == "array":
            return array
        if array.shape:
            raise Forged("a number that has axes")
        return array[()]
    if form == "tuple" and isinstance(claim, list):
        return tuple(_whole(item, taken, depth + 1) for item in claim)
    if form == "table" and isinstance(claim, list):
        if not all(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in claim):
            raise Forged("a table of an unknown form")
        return {key: _whole(item, taken, depth + 1) for key, item in claim}
    raise Forged("a table of an unknown form")


def text(value: Any, most: int = TEXT) -> str:
    """A text from a stranger, fit to be printed: no control characters, no more than so many."""
    if not isinstance(value, str):
        raise Forged("something that should be a text")
    shown = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in value[:most])
    return shown + "…" if len(value) > most else shown


def message_of(record: Answer | Accepts) -> dict[str, Any]:
    """A record as the table that is sent."""
    table = record._asdict()
    if isinstance(record, Answer):
        table["problems"] = [list(p) for p in record.problems]
    return table


def answer_from(table: Any) -> Answer:
    """The Answer that the checked function's process sent; Forged if it is none."""
    table = _fields(table, Answer)
    y = table["y"]
    if not _is_tuple(y, lambda a: isinstance(a, np.ndarray)):
        raise Forged("an output that is not arrays")
    grads = table["grads"]
    if not (grads is None or _is_tuple(grads, lambda a: a is None or isinstance(a, np.ndarray))):
        raise Forged("gradients that are not arrays")
    inner = table["inner"]
    if not (isinstance(inner, dict) and all(isinstance(a, np.ndarray) for a in inner.values())):
        raise Forged("intermediates that are not arrays")
    seconds = table["seconds"]
    if not (type(seconds) in (int, float) and 0 <= seconds < math.inf):
        raise Forged("a time that is none")
    return Answer(y, grads, {text(k, 80): a for k, a in inner.items()}, _texts(table["dtypes"]),
                  tuple(_problem(p) for p in _few(table["problems"])), float(seconds),
                  tuple(text(t) for t in _few(table["notes"])))


def accepts_from(table: Any) -> Accepts:
    """The Accepts that the checked function's process sent; Forged if it is none."""
    table = _fields(table, Accepts)
    values = table["values"]
    if not isinstance(values, dict):
        raise Forged("values that are not a table")
    return Accepts(
        text(table["framework"], 80), tuple(text(t, 80) for t in _few(table["takes"])), text(table["gradient"], 80),
        text(table["device"], 80), tuple(text(t, 80) for t in _few(table["dtypes"])),
        {text(k, 80): tuple(_simple(v) for v in _few(given)) for k, given in values.items()},
        tuple(text(t) for t in _few(table["notes"])), text(table["problem"]))


def _fields(table: Any, record: Any) -> dict[str, Any]:
    if not (isinstance(table, dict) and set(table) == set(record._fields)):
        raise Forged("an answer of an unknown form")
    return table


def _is_tuple(value: Any, good: Any) -> bool:
    return isinstance(value, tuple) and all(good(item) for item in value)


def _few(value: Any) -> list | tuple:
    if not (isinstance(value, (list, tuple)) and len(value) <= ARRAYS):
        raise Forged("a list that is none, or too long")
    return value


def _simple(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float):
        return value
    return text(value, 80)


def _texts(table: Any) -> dict[str, str]:
    if not (isinstance(table, dict) and len(table) <= ARRAYS):
        raise Forged("names that are not a table")
    return {text(key, 80): text(value, 80) for key, value in table.items()}


def _problem(claim: Any) -> Problem:
    if not (isinstance(claim, list) and len(claim) == 3 and claim[0] in KINDS):
        raise Forged("a problem of an unknown kind")
    return Problem(claim[0], text(claim[1]), text(claim[2], 80))


def read(take: Any, most: int) -> dict[str, Any]:
    """A whole message: `take(n)` gives the next n bytes."""
    header, blob = lengths(take(LENGTHS.size), most)
    return unpack(take(header), take(blob))


def chunks(parts: list[bytes | memoryview], size: int = 1 << 20) -> Iterator[memoryview]:
    """The parts of a message in pieces of at most `size` bytes."""
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), size):
            yield view[start:start + size]
