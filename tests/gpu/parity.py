"""A twin against its reference: output, every field of the cache, every gradient, within the error bound of the
reference itself (`visattn.check.bounds`) for the precision at hand.  No kernel has a tolerance of its own."""

import contextlib
from types import ModuleType

import ml_dtypes
import numpy as np

from visattn import gpu, ops, tree
from visattn.check import bounds
from visattn.gpu import _device

DTYPES = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def agree(name, args, options=None, *, version, place="host", dtype="float32", turn=0, checked=False, seed=0):
    """Run the twin of operator `name` forward and backward; raise AssertionError where it strays.

    args, options   of the reference, float64; what `dtype` cannot hold is rounded to it first
    turn            the order of threads and blocks in the host build
    checked         in the checked host build: races, bounds, barriers, unwritten memory
    """
    op, twin, options = getattr(ops, name), getattr(gpu, name), dict(options or {})
    rng = np.random.default_rng(seed)
    args = to(to(tuple(args), DTYPES[dtype]), np.float64)
    y, _ = op.forward(*args, **options)
    dy = to(tree.map(lambda a: rng.normal(size=a.shape).astype(DTYPES[dtype]), y), np.float64)
    expected = bounds(op, args, options, dy, precision=dtype)
    kept = bounds(with_cache(op), args, options, precision=dtype, all_ways=False).y

    with running(place, turn, checked):
        y, cache = twin.forward(*to(args, DTYPES[dtype]), **options, version=version)
        grads = twin.backward(to(dy, DTYPES[dtype]), cache, version=version)
    assert type(cache) is op.Cache
    within(f"{name} v{version}: y", tree.leaves(y), expected.y)
    within(f"{name} v{version}: cache", floating(cache), kept[len(tree.leaves(y)):])
    for (which, parts), g in zip(expected.grads.items(), grads, strict=True):
        within(f"{name} v{version}: {which}", tree.leaves(g), parts)
    return y, cache, grads


@contextlib.contextmanager
def running(place, turn=0, checked=False):
    """Kernels at `place`, threads in the order `turn`, checked or not."""
    tokens = [(_device.turning, _device.turning.set(turn)), (_device.checking, _device.checking.set(checked))]
    try:
        with gpu.use(place):
            yield
    finally:
        for variable, token in tokens:
            variable.reset(token)


def within(what, theirs, expected):
    assert len(theirs) == len(expected), f"{what}: {len(theirs)} arrays instead of {len(expected)}"
    for i, (a, (value, error)) in enumerate(zip(theirs, expected)):
        a = np.asarray(a, np.float64)
        assert a.shape == value.shape, f"{what}[{i}]: shape {a.shape} instead of {value.shape}"
        same = (a == value) | (np.isnan(a) & np.isnan(value)) | (np.abs(a - value) <= error)
        if not same.all():
            at = tuple(int(k) for k in np.argwhere(~same)[0])
            raise AssertionError(f"{what}[{i}]: {(~same).sum()} of {same.size} elements off, the first at {at}: "
                                 f"{a[at]} instead of {value[at]} ± {error[at]:.2g}")


def with_cache(op):
    """The operator with the floating-point fields of its cache as further outputs."""
    def forward(*args, **options):
        y, cache = op.forward(*args, **options)
        return (y, floating(cache)), cache

    changed = ModuleType(op.__name__)
    changed.forward, changed.backward = forward, op.backward
    return changed


def floating(cache):
    return [leaf for field in cache if field is None or not isinstance(field, (str, bool, int, float, tuple))
            for leaf in tree.leaves(field) if str(leaf.dtype) in DTYPES]


def to(t, dtype):
    return tree.map(lambda a: np.asarray(a).astype(dtype) if str(a.dtype) in DTYPES else a, t)
