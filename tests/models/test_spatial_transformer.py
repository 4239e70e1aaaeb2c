import numpy as np
import pytest

from visattn import ops, optim, tree
from visattn.models import spatial_transformer


@pytest.fixture
def x(rng):
    return rng.normal(size=(2, 3, 7, 6))


def weights(rng, size=(4, 5)):
    return spatial_transformer.init(rng, (7, 6), size, O=5, C=3, I=2, M=4)


def pointing(p, theta):
    """Weights whose θ is this one, whatever the image."""
    return p._replace(loc=p.loc._replace(theta=p.loc.theta._replace(b=np.asarray(theta, float).ravel())))


def test_at_first_it_looks_at_the_whole_image(x, rng):
    _, cache = spatial_transformer.forward(x, weights(rng, (7, 6)), size=(7, 6))
    np.testing.assert_allclose(cache.theta, np.broadcast_to(np.eye(2, 3), (2, 2, 3)), atol=1e-15)
    np.testing.assert_allclose(cache.view, x, atol=1e-12)


def test_a_view_to_the_right_shows_what_is_on_the_right(x, rng):
    p = pointing(weights(rng, (7, 6)), [[1, 0, 2 / 6], [0, 1, 0]])       # one column of six
    view = spatial_transformer.forward(x, p, size=(7, 6))[1].view
    np.testing.assert_allclose(view[..., :-1], x[..., 1:], atol=1e-12)
    np.testing.assert_allclose(view[..., -1], 0, atol=1e-12)


def test_a_view_of_half_the_width_is_the_middle_of_the_image(x, rng):
    p = pointing(weights(rng, (7, 2)), [[1 / 3, 0, 0], [0, 1, 0]])
    view = spatial_transformer.forward(x, p, size=(7, 2))[1].view
    np.testing.assert_allclose(view, x[..., 2:4], atol=1e-12)


def test_what_it_sees_is_the_image_at_its_grid(x, rng):
    p = spatial_transformer.perturbed(weights(rng), rng)
    _, cache = spatial_transformer.forward(x, p, size=(4, 5))
    assert cache.grid.shape == (2, 4, 5, 2)
    view, _ = ops.grid_sample.forward(x, cache.grid, align_corners=False)
    np.testing.assert_allclose(view, cache.view, rtol=1e-12)


def test_only_the_gradient_through_the_grid_teaches_it_where_to_look(x, rng):
    """In an image of one colour no view differs from another inside it: nothing to learn about θ."""
    p = pointing(spatial_transformer.perturbed(weights(rng), rng), 0.3 * np.eye(2, 3))
    p = p._replace(loc=p.loc._replace(theta=p.loc.theta._replace(w=0 * p.loc.theta.w)))
    flat, cache = spatial_transformer.forward(np.ones_like(x), p, size=(4, 5))
    _, dp = spatial_transformer.backward(np.ones_like(flat), cache)
    assert np.abs(dp.loc.theta.b).max() < 1e-12
    y, cache = spatial_transformer.forward(x, p, size=(4, 5))
    _, dp = spatial_transformer.backward(np.ones_like(y), cache)
    assert np.abs(dp.loc.theta.b).max() > 1e-3


def test_an_empty_batch_is_empty(x, rng):
    y, cache = spatial_transformer.forward(x[:0], weights(rng), size=(4, 5))
    dx, dp = spatial_transformer.backward(y, cache)
    assert y.shape == (0, 5)
    assert dx.shape == (0, 3, 7, 6)
    assert not any(leaf.any() for leaf in tree.leaves(dp))


def test_learns_to_look_where_the_mark_is(rng):
    """One of four 2 × 2 patterns, somewhere: the classes can be told apart, and the view moves to the pattern."""
    patterns = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 1], [0, 0]], [[1, 0], [1, 0]]], float)
    labels = np.arange(24) % 4
    x = np.zeros((24, 1, 8, 8))
    for image, pattern, (i, j) in zip(x, patterns[labels], rng.integers(0, 7, (24, 2))):
        image[0, i:i + 2, j:j + 2] = pattern
    p, state = spatial_transformer.init(rng, (8, 8), (5, 5), O=4, I=4, M=16), None
    for _ in range(120):
        scores, cache = spatial_transformer.forward(x, p, size=(5, 5))
        loss, kept = ops.cross_entropy.forward(scores, labels=labels)
        _, dp = spatial_transformer.backward(ops.cross_entropy.backward(1.0, kept)[0], cache)
        p, state = optim.adam(p, dp, state, lr=0.01)
    assert loss < 0.1
    assert np.abs(cache.theta - np.eye(2, 3)).max() > 0.1


@pytest.mark.parametrize(("change", "said"), [
    (lambda x, p: (x[:, :1], p, (4, 5)), "x must have the 3 channels that p was made for; got 1"),
    (lambda x, p: (x[:, :, :4], p, (4, 5)), "p.loc.hidden.w must take 8 features, for images of 4 by 6; got 16"),
    (lambda x, p: (x, p, (5, 5)), "p.hidden.w must take the 75 values of a view; got 60"),
    (lambda x, p: (x, p, (0, 5)), "size must be at least 1 by 1; got (0, 5)"),
    (lambda x, p: (x, p, 4), "size must be"),
    (lambda x, p: (x, p.loc, (4, 5)), "p must be a spatial_transformer.Params; got Localisation"),
])
def test_what_does_not_fit_is_refused_by_name(x, rng, change, said):
    x, p, size = change(x, weights(rng))
    with pytest.raises((TypeError, ValueError), match=r"spatial_transformer\.forward: ") as error:
        spatial_transformer.forward(x, p, size=size)
    assert said in str(error.value)
