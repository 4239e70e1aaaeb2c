import numpy as np
import pytest

from visattn import gradcheck, tree
from visattn.models import residual_block
from visattn.models.residual_block import Moments, Stats
from visattn.ops import cbam, squeeze_excite

gates = pytest.mark.parametrize("gate", residual_block.GATES)


def weights(rng, C, O, gate="none"):
    return residual_block.perturbed(residual_block.init(rng, C, O, gate, r=2), rng)


def running(rng, p):
    """Statistics such as a training might have gathered."""

    def of(layer):
        return Moments(rng.normal(size=layer.norm.g.shape), rng.uniform(0.5, 2, layer.norm.g.shape))

    return Stats(of(p.first), of(p.second), None if p.shortcut is None else of(p.shortcut))


@gates
@pytest.mark.parametrize("O", [4, 5])
@pytest.mark.parametrize("trained", [False, True])
def test_obeys_the_laws_with_every_gate_shortcut_and_statistics(gate, O, trained, rng):
    p = weights(rng, 4, O, gate)
    x = rng.normal(size=(2, 4, 5, 6))
    gradcheck.check(residual_block, (x, p), {"running": running(rng, p)} if trained else {}, rng)


@gates
def test_the_weights_say_which_gate(gate, rng):
    p = weights(rng, 4, 4, gate)
    _, cache = residual_block.forward(rng.normal(size=(2, 4, 5, 6)), p)
    expected = {"none": type(None), "squeeze_excite": squeeze_excite.Cache, "cbam": cbam.Cache}[gate]
    assert isinstance(cache.gate, expected)


@gates
def test_a_branch_that_adds_nothing_leaves_what_is_positive(gate, rng):
    p = weights(rng, 3, 3, gate)
    silent = p._replace(second=p.second._replace(norm=p.second.norm._replace(g=0 * p.second.norm.g,
                                                                             b=0 * p.second.norm.b)))
    x = rng.normal(size=(2, 3, 5, 6))
    y, _ = residual_block.forward(x, silent)
    assert np.array_equal(y, np.maximum(x, 0))


def test_the_gate_weighs_the_branch_and_not_the_shortcut(rng):
    """A gate of ½ everywhere halves what the block adds to x."""
    p = weights(rng, 4, 4, "squeeze_excite")
    half = p._replace(gate=p.gate._replace(w2=0 * p.gate.w2))
    x = 10 + rng.normal(size=(2, 4, 5, 6))              # so large that the last ReLU passes all
    small = p.second.norm._replace(g=0.1 * p.second.norm.g)
    p, half = (q._replace(second=q.second._replace(norm=small)) for q in (p, half))
    added = residual_block.forward(x, p._replace(gate=None))[0] - x
    np.testing.assert_allclose(residual_block.forward(x, half)[0] - x, added / 2, rtol=1e-10)


@pytest.mark.parametrize(("H", "W", "Ho", "Wo"), [(4, 6, 2, 3), (5, 7, 3, 4)])
def test_a_shortcut_with_weights_halves_the_image(H, W, Ho, Wo, rng):
    y, _ = residual_block.forward(rng.normal(size=(2, 3, H, W)), weights(rng, 3, 5))
    assert y.shape == (2, 5, Ho, Wo)


def test_statistics_are_the_mean_and_the_unbiased_variance(rng):
    p = weights(rng, 3, 3)
    one_tap = np.zeros((3, 3, 3, 3))
    one_tap[:, :, 1, 1] = np.eye(3)                     # a convolution that changes nothing
    p = p._replace(first=p.first._replace(conv=p.first.conv._replace(w=one_tap)))
    x = rng.normal(size=(2, 3, 4, 5))
    stats = residual_block.forward(x, p)[1].stats
    np.testing.assert_allclose(stats.first.mean, x.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(stats.first.var, x.var((0, 2, 3), ddof=1), rtol=1e-12)
    assert stats.shortcut is None


def test_with_running_statistics_images_do_not_see_each_other(rng):
    p = weights(rng, 3, 5, "cbam")
    x, given = rng.normal(size=(3, 3, 4, 5)), running(rng, p)
    y, _ = residual_block.forward(x, p, running=given)
    np.testing.assert_allclose(residual_block.forward(x[1:2], p, running=given)[0], y[1:2], rtol=1e-10)
    assert np.abs(residual_block.forward(x[1:2], p)[0] - residual_block.forward(x, p)[0][1:2]).max() > 1e-3


def test_an_empty_batch_is_empty(rng):
    p = weights(rng, 3, 5, "cbam")
    y, cache = residual_block.forward(np.zeros((0, 3, 4, 5)), p)
    dx, dp = residual_block.backward(y, cache)
    assert y.shape == (0, 5, 2, 3)
    assert dx.shape == (0, 3, 4, 5)
    assert not any(leaf.any() for leaf in tree.leaves(dp))


def test_what_does_not_fit_is_refused_by_name(rng):
    p, x = weights(rng, 3, 5), rng.normal(size=(2, 3, 4, 5))
    with pytest.raises(ValueError, match=r"residual_block\.forward: x must have the 3 channels .*; got 2"):
        residual_block.forward(x[:, :2], p)
    with pytest.raises(ValueError, match=r"p\.shortcut must have weights: 3 channels become 5"):
        residual_block.forward(x, p._replace(shortcut=None))
    with pytest.raises(TypeError, match=r"p\.gate must be a squeeze_excite\.Params or a cbam\.Params or None; got"):
        residual_block.forward(x, p._replace(gate=x))
    with pytest.raises(ValueError, match="gate must be one of none, squeeze_excite, cbam; got se"):
        residual_block.init(rng, 3, 3, gate="se")
