import numpy as np
import pytest

from visattn import ops, optim, tree
from visattn.models import vit


@pytest.fixture
def p(rng):
    return vit.perturbed(vit.init(rng, (4, 6), (2, 3), D=8, heads=2, L=2, O=5, M=7), rng)


@pytest.fixture
def x(rng):
    return rng.normal(size=(3, 1, 4, 6))


def test_patches_by_hand():
    x = np.arange(24.0).reshape(1, 1, 4, 6)
    assert vit.patches(x, (2, 3))[0].tolist() == [
        [0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11], [12, 13, 14, 18, 19, 20], [15, 16, 17, 21, 22, 23]]


def test_a_patch_holds_one_channel_after_the_other():
    x = np.stack([np.full((2, 2), c) for c in (1.0, 2.0, 3.0)])[None]
    assert vit.patches(x, (2, 2)).tolist() == [[[1] * 4 + [2] * 4 + [3] * 4]]


def test_patches_put_together_are_the_image(rng):
    x = rng.normal(size=(2, 3, 4, 6))
    assert np.array_equal(vit.image(vit.patches(x, (2, 3)), x.shape, (2, 3)), x)


def test_without_blocks_only_the_class_token_speaks(x, p):
    """z₀ = cls + pos₀, whatever the image."""
    none = p._replace(blocks=())
    y, _ = vit.forward(x, none, patch=(2, 3), heads=2)
    z = p.cls + p.pos[0]
    n = p.norm.g * (z - z.mean()) / np.sqrt(z.var() + 1e-5) + p.norm.b
    np.testing.assert_allclose(y, np.tile(p.head.w @ n + p.head.b, (3, 1)), rtol=1e-12)


def test_patches_are_told_apart_by_their_positions_alone(x, p, rng):
    """Exchange two patches and their positions: nothing changes.  Exchange the patches alone: it does."""
    y, _ = vit.forward(x, p, patch=(2, 3), heads=2)
    order = np.array([2, 1, 0, 3])
    moved = vit.image(vit.patches(x, (2, 3))[:, order], x.shape, (2, 3))
    both = p._replace(pos=np.concatenate([p.pos[:1], p.pos[1:][order]]))
    np.testing.assert_allclose(vit.forward(moved, both, patch=(2, 3), heads=2)[0], y, rtol=1e-11)
    assert np.abs(vit.forward(moved, p, patch=(2, 3), heads=2)[0] - y).max() > 1e-3


def test_the_attention_of_every_layer_is_in_the_cache(x, p):
    _, cache = vit.forward(x, p, patch=(2, 3), heads=2)
    assert len(cache.blocks) == 2
    for block in cache.blocks:
        assert block.p.shape == (3, 2, 5, 5)            # images, heads, tokens that ask, tokens that answer
        np.testing.assert_allclose(block.p.sum(-1), 1, rtol=1e-12)


def test_a_number_is_a_square_patch(rng):
    p = vit.init(rng, 4, 2, D=6, heads=3, L=1, O=3)
    x = rng.normal(size=(2, 1, 4, 4))
    assert np.array_equal(vit.forward(x, p, patch=2, heads=3)[0], vit.forward(x, p, patch=(2, 2), heads=3)[0])


def test_at_first_all_classes_are_equally_likely(rng):
    p = vit.init(rng, 4, 2, D=6, heads=3, L=1, O=3)
    assert not vit.forward(rng.normal(size=(2, 1, 4, 4)), p, patch=2, heads=3)[0].any()


def test_an_empty_batch_is_empty(x, p):
    y, cache = vit.forward(x[:0], p, patch=(2, 3), heads=2)
    dx, dp = vit.backward(y, cache)
    assert y.shape == (0, 5)
    assert dx.shape == (0, 1, 4, 6)
    assert not any(leaf.any() for leaf in tree.leaves(dp))


def test_learns_a_batch_by_heart(rng):
    x, labels = rng.normal(size=(12, 1, 4, 4)), np.arange(12) % 4
    p, state = vit.init(rng, 4, 2, D=8, heads=2, L=2, O=4, M=16), None
    for _ in range(40):
        scores, cache = vit.forward(x, p, patch=2, heads=2)
        loss, kept = ops.cross_entropy.forward(scores, labels=labels)
        _, dp = vit.backward(ops.cross_entropy.backward(1.0, kept)[0], cache)
        p, state = optim.adam(p, dp, state, lr=0.02)
    assert loss < 0.05
    assert (scores.argmax(1) == labels).all()


@pytest.mark.parametrize(("change", "said"), [
    ({"patch": (3, 3)}, "patch must divide the 4 rows and 6 columns of x; got (3, 3)"),
    ({"patch": 0}, "patch must be at least 1; got 0"),
    ({"patch": 2}, "p.pos must have 7 positions: the class token, and a patch each; got 5"),
    ({"patch": (1, 6)}, None),
    ({"patch": 1.5}, "patch must be an integer or 2 of them; got 1.5"),
    ({"heads": 3}, "heads must divide 8 features; got 3"),
    ({"heads": 0}, "heads must divide 8 features; got 0"),
])
def test_what_does_not_fit_is_refused_by_name(x, p, change, said):
    options = {"patch": (2, 3), "heads": 2, **change}
    if said is None:                                    # as many values and patches: another cut of the image
        assert vit.forward(x, p, **options)[0].shape == (3, 5)
        return
    with pytest.raises((TypeError, ValueError), match=r"vit\.forward: ") as error:
        vit.forward(x, p, **options)
    assert said in str(error.value)


def test_images_of_another_number_of_channels_are_refused(x, p):
    with pytest.raises(ValueError, match=r"p\.embed\.w must take the 18 values of a patch; got 6"):
        vit.forward(np.concatenate([x] * 3, 1), p, patch=(2, 3), heads=2)
