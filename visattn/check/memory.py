"""What does not depend on the function that is checked, kept while many functions are.

    with memory.kept():
        for file in files:
            judge.run("attention", file=file)

The cases of an operator, the bounds of what is right, changed operators and their answers are functions of an operator
and of numbers.  Inside of `kept` they are computed once, and whoever gets them may not write in them.  Outside nothing
is kept.  A key is made of contents: names of operators, the changes in them, the bytes of arrays.
"""

import contextlib
import hashlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from functools import wraps
from types import ModuleType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

MOST = 20_000                           # answers that are kept; the longest unused go first
Answers = TypeVar("Answers", bound=Callable[..., Any])

_answers: OrderedDict[Hashable, tuple[bool, Any]] | None = None
_keys: WeakKeyDictionary[ModuleType, Hashable] = WeakKeyDictionary()


class Unkept(Exception):
    """These arguments have no key: what they give is computed every time."""


@contextlib.contextmanager
def kept(most: int = MOST) -> Iterator[None]:
    """Inside, answers are kept, at most so many."""
    global _answers, _most
    before, _most = (_answers, _most), most
    _answers = OrderedDict()
    try:
        yield
    finally:
        _answers, _most = before


_most = MOST


def remembered(key: Callable[..., Hashable]) -> Callable[[Answers], Answers]:
    """A function whose answers, and exceptions, are kept inside of `kept`, under what `key` makes of its arguments."""
    def around(f: Answers) -> Answers:
        @wraps(f)
        def remembering(*args: Any, **options: Any) -> Any:
            if _answers is None:
                return f(*args, **options)
            try:
                under = f.__qualname__, f.__module__, key(*args, **options)
            except Unkept:
                return f(*args, **options)
            if under in _answers:
                _answers.move_to_end(under)
                good, what = _answers[under]
            else:
                try:
                    good, what = True, f(*args, **options)
                except Exception as error:
                    good, what = False, error
                _answers[under] = good, what
                while len(_answers) > _most:
                    _answers.popitem(last=False)
            if not good:
                raise what.with_traceback(None)
            return what

        return remembering                                      # type: ignore[return-value]

    return around


def key_of(op: Any) -> Hashable:
    """An operator by its name and the changes in it and in its parts: two copies with the same changes are one.

    Raises Unkept for what is not a module that was imported, or a changed copy of one.
    """
    from visattn.check import changes

    if not isinstance(op, ModuleType) or sys.modules.get(op.__name__, op).__spec__ is not op.__spec__ \
            or op.__spec__ is None:
        raise Unkept
    if op not in _keys:
        made = ((m.__name__, changes.made_in(m)) for m in (op, *changes.parts(op)))
        _keys[op] = op.__name__, tuple((name, some) for name, some in made if some)
    return _keys[op]


def digest(*values: Any) -> bytes:
    """Of arrays and plain values, however they are nested."""
    found = hashlib.blake2b(digest_size=16)
    queue = [*values]
    while queue:
        value = queue.pop()
        if isinstance(value, np.ndarray):
            found.update(f"{value.dtype.str}{value.shape}{value.strides}".encode())
            found.update(value.tobytes())
        elif isinstance(value, dict):
            found.update(f"dict {len(value)} {[*value]}".encode())
            queue += value.values()
        elif isinstance(value, (tuple, list)):
            found.update(f"{type(value).__name__} {len(value)}".encode())
            queue += value
        elif value is None or isinstance(value, (bool, int, float, str, np.generic)):
            found.update(f"{type(value).__name__} {value!r}".encode())
        else:
            raise Unkept
    return found.digest()


def unwritable(value: Any) -> Any:
    """The value, whose arrays refuse to be written."""
    queue = [value]
    while queue:
        part = queue.pop()
        if isinstance(part, np.ndarray):
            part.flags.writeable = False
        elif isinstance(part, dict):
            queue += part.values()
        elif isinstance(part, (tuple, list)):
            queue += part
    return value
