"""A twin against its reference, as an assertion; see visattn.check.twins.

On a GPU (`VISATTN_GPU=cuda`, what `make check-gpu` sets) whatever would run in the host build or in the simulator runs
there instead.
"""

import os

from visattn.check.twins import compare, running

__all__ = ["agree", "running"]

ON_GPU = os.environ.get("VISATTN_GPU") == "cuda"


def agree(name, args, options=None, *, version, place="host", dtype="float32", turn=0, checked=False, seed=0):
    """(y, cache, grads) of the twin; AssertionError where it strays from the reference's error bound."""
    parts, result = compare(name, args, options, version=version, place="cuda" if ON_GPU else place, dtype=dtype,
                            turn=turn, checked=checked, seed=seed)
    for part in parts:
        assert part.worst <= 1, f"{name} v{version} {dtype}: {part.name}: {part.says}"
    return result
