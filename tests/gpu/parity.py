"""A twin against its reference, as an assertion; see visattn.check.twins."""

from visattn.check.twins import compare, running

__all__ = ["agree", "running"]


def agree(name, args, options=None, *, version, place="host", dtype="float32", turn=0, checked=False, seed=0):
    """(y, cache, grads) of the twin; AssertionError where it strays from the reference's error bound."""
    parts, result = compare(name, args, options, version=version, place=place, dtype=dtype, turn=turn,
                            checked=checked, seed=seed)
    for part in parts:
        assert part.worst <= 1, f"{name} v{version} {dtype}: {part.name}: {part.says}"
    return result
