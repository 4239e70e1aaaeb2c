"""The bounds are those that a person would derive by hand, and grow and shrink as they must."""

import numpy as np
import pytest

from visattn import ops, tree
from visattn.check import bounds, changes
from visattn.check.cases import Integers, cases, fit
from visattn.check.compare import compare
from visattn.check.precision import PRECISIONS, precision

OPERATORS = dir(ops)
SPREAD = 3


def growth(n, p):
    return (4 + 2 * n**0.5 + n / 32) * p.accumulate


def attention_by_hand(q, k, v, do, p):
    """The bound of attention and of its gradients, derived line by line for one head; D is Σ_s p ⊙ dp."""
    us, ui, ua, n, d, e = p.stored, p.operand, p.accumulate, len(k), q.shape[1], v.shape[1]
    sc = d**-0.5
    s = sc * q @ k.T
    w = np.exp(s - s.max(1, keepdims=True))
    w /= w.sum(1, keepdims=True)
    o, dp = w @ v, do @ v.T
    D = (w * dp).sum(1, keepdims=True)
    ds = w * (dp - D)
    A = np.abs
    es = 2 * us * A(s) + ui * SPREAD * sc * np.sqrt(q**2 @ k.T**2) + growth(d, p) * sc * A(q) @ A(k).T + ua * A(s)
    eps = es + 2 * max(us, ui) + ua * (A(s - s.max(1, keepdims=True)) + 8)
    eps = eps + (w * es).sum(1, keepdims=True) + growth(n, p) + 4 * ua
    eo = w * eps @ A(v) + growth(n, p) * w @ A(v) + us * A(o)
    edp = us * A(dp) + ui * SPREAD * np.sqrt(do**2 @ v.T**2) + growth(e, p) * A(do) @ A(v).T
    eD = (A(do) * eo).sum(1, keepdims=True) + growth(e, p) * (A(do) * A(o)).sum(1, keepdims=True)
    eds = w * (A(dp - D) * eps + edp + eD) + 2 * max(ui, us) * A(ds)
    edq = sc * (eds @ A(k) + growth(n, p) * A(ds) @ A(k)) + 2 * us * A(sc * ds @ k)
    edk = sc * (eds.T @ A(q) + growth(len(q), p) * A(ds).T @ A(q)) + 2 * us * A(sc * ds.T @ q)
    edv = (w * (eps + ui)).T @ A(do) + growth(len(q), p) * w.T @ A(do) + 2 * us * A(w.T @ do)
    return eo, edq, edk, edv


@pytest.mark.parametrize("name", PRECISIONS)
def test_the_bound_of_attention_is_the_one_derived_by_hand(name):
    p = precision(name)
    for seed in range(5):
        rng = Integers(seed)
        q, k, v, do = (fit(rng.normal(size=s), p) for s in ((5, 8), (7, 8), (7, 6), (5, 6)))
        found = bounds(ops.attention, (q, k, v), dy=do, precision=name, all_ways=False)
        own = 2 if name == "float64" else 1
        for mine, by_hand in zip((found.y, *found.grads.values()), attention_by_hand(q, k, v, do, p), strict=True):
            times = np.median(mine[0].error / own / by_hand)
            assert 0.5 < times < 5, f"{times:.2f} times the bound by hand"


@pytest.mark.parametrize("name", OPERATORS)
def test_float32_stays_within_its_bound(name):
    """The reference in float32 against its own float64: an implementation that is honest by construction."""
    op = getattr(ops, name)
    for case in cases(op, "float32"):
        with np.errstate(all="ignore"):
            right = bounds(op, case.args, case.options, case.dy, "float32")
            options = {k: tree.cast(v, np.float32) if tree.is_leaf(v) else v for k, v in case.options.items()}
            y, cache = op.forward(*tree.cast(case.args, np.float32), **options)
            grads = op.backward(tree.cast(case.dy, np.float32), cache)
        for part, got in zip(right.parts(), (y, *grads), strict=True):
            for leaf, wanted in zip(tree.leaves(got), right.parts()[part], strict=True):
                worst = compare(leaf, wanted).worst
                assert worst <= 1, f"{case.name}: {part} is off by {worst:.2f} bounds"


@pytest.mark.parametrize("name", OPERATORS)
def test_a_bound_grows_with_the_unit_of_rounding_and_is_never_less_than_one(name):
    op = getattr(ops, name)
    case = cases(op, "bfloat16", names=["plain_0"])[0]          # numbers that every precision can hold
    before = None
    for p in ("float64", "float32", "tf32", "bfloat16"):
        found = bounds(op, case.args, case.options, case.dy, p).parts()
        for part, leaves in found.items():
            for i, leaf in enumerate(leaves):
                assert (leaf.error >= PRECISIONS[p].stored * np.abs(leaf.value)).all(), f"{p} {part}"
                if before is not None:
                    assert (leaf.error >= before[part][i].error).all(), f"{p} {part}"
        before = found


@pytest.mark.parametrize("name", OPERATORS)
def test_a_bound_is_small_enough_to_mean_something(name):
    """On its own example, in float32, no operator's typical bound is more than a thousandth of its largest number."""
    op = getattr(ops, name)
    case = cases(op, "float32", names=["plain_0"])[0]
    for part, leaves in bounds(op, case.args, case.options, case.dy, "float32").parts().items():
        for leaf in leaves:
            assert np.median(leaf.error) <= 1e-3 * np.abs(leaf.value).max(), part


@pytest.mark.parametrize("name", OPERATORS)
def test_the_value_is_the_reference(name):
    op = getattr(ops, name)
    args, options = op.example(np.random.default_rng(0))
    y, _ = op.forward(*args, **options)
    found = bounds(op, args, options)
    assert found.grads == {}
    for leaf, wanted in zip(tree.leaves(y), found.y, strict=True):
        np.testing.assert_array_equal(leaf, wanted.value)


def test_every_other_way_to_write_a_line_is_the_same_mathematics():
    for change in changes.everything():
        if change.kind in ("equal", "plain"):
            op = next(o for o in (getattr(ops, n) for n in OPERATORS) if o.__name__ == change.op)
            way = changes.changed(op, change)
            for case in cases(op, "float64"):
                with np.errstate(all="ignore"):
                    one, _ = op.forward(*case.args, **case.options)
                    two, _ = way.forward(*case.args, **case.options)
                for a, b in zip(tree.leaves(one), tree.leaves(two), strict=True):
                    np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-9 * np.abs(np.nan_to_num(a)).max(initial=0),
                                               err_msg=f"{change.op} {change.name} {case.name}")


def test_low_accumulators_cost_more():
    rng = Integers(1)
    x, w = fit(rng.normal(size=(4, 64)), precision("bfloat16")), fit(rng.normal(size=(3, 64)), precision("bfloat16"))
    high = bounds(ops.linear, (x, w), precision="bfloat16").y[0].error
    low = bounds(ops.linear, (x, w), precision="bfloat16", accumulate="bfloat16").y[0].error
    assert (low > 3 * high).all()


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_a_place_that_rounding_moves_to_another_pixel_stays_within_the_bound(side, axis, padding):
    """Columns 3 ± 0.004 of 8 are one in bfloat16: what is read, and which pixel gets the gradient, may be of either."""
    rng, options = Integers(3), {"align_corners": False, "padding": padding}
    x, dy = fit(rng.normal(size=(1, 2, 8, 8)), precision("bfloat16")), np.ones((1, 2, 1, 1))
    here, there = (np.full((1, 1, 1, 2), -0.3125) for _ in range(2))
    here[..., axis], there[..., axis] = -0.125 - side / 1024, -0.125 + side / 1024
    found = bounds(ops.grid_sample, (x, here), options, dy, "bfloat16")
    y, cache = ops.grid_sample.forward(x, there, **options)
    for part, got in zip(found.parts(), (y, *ops.grid_sample.backward(dy, cache)), strict=True):
        wanted, = found.parts()[part]
        assert compare(got, wanted).worst <= 1, part
        assert np.isfinite(wanted.error).all(), part
    assert (found.grads["dx"][0].error[..., 6:, :] == 0).all()


def test_an_unknown_precision_is_refused_by_name():
    with pytest.raises(ValueError, match="must be one of float64, float32, tf32, float16, bfloat16; got 'f4'"):
        bounds(ops.linear, (np.ones((1, 2)), np.ones((3, 2))), precision="f4")
