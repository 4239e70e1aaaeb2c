import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.sampling import affine_grid as definition
from visattn.ops.sampling import affine_grid, grid_sample

IDENTITY = np.array([[[1.0, 0, 0], [0, 1, 0]]])


def grid(theta, size, align_corners):
    return affine_grid.forward(np.array(theta), size=size, align_corners=align_corners)[0]


def test_by_hand():
    x, y = grid(IDENTITY, (2, 4), False)[0].transpose(2, 0, 1).tolist()
    assert x == [[-0.75, -0.25, 0.25, 0.75]] * 2
    assert y == [[-0.5] * 4, [0.5] * 4]
    x, y = grid(IDENTITY, (2, 5), True)[0].transpose(2, 0, 1).tolist()
    assert x == [[-1, -0.5, 0, 0.5, 1]] * 2
    assert y == [[-1] * 5, [1] * 5]


def test_rows_of_theta_are_x_and_y():
    theta = [[[1.0, 2, 3], [4, 5, 6]]]
    assert grid(theta, (1, 2), False).tolist() == [[[[-0.5 + 3, -2 + 6], [0.5 + 3, 2 + 6]]]]       # (±½, 0)
    assert grid(theta, (2, 1), False).tolist() == [[[[-1 + 3, -2.5 + 6]], [[1 + 3, 2.5 + 6]]]]     # (0, ±½)


@pytest.mark.parametrize("align_corners", [False, True])
def test_a_single_pixel_is_in_the_middle(align_corners):
    assert grid(IDENTITY, (1, 1), align_corners).tolist() == [[[[0, 0]]]]


@pytest.mark.parametrize("align_corners", [False, True])
def test_the_identity_gives_the_image_back(rng, align_corners):
    x = rng.normal(size=(2, 3, 4, 5))
    where = grid(np.repeat(IDENTITY, 2, axis=0), (4, 5), align_corners)
    y, _ = grid_sample.forward(x, where, align_corners=align_corners)
    np.testing.assert_allclose(y, x, rtol=1e-12, atol=1e-12)


def test_theta_says_where_to_look_not_where_to_go():
    """Looking one pixel to the left moves the picture to the right."""
    x = np.array([[[[1.0, 2, 3, 4]]]])
    left = IDENTITY - [[0, 0, 2 / 4], [0, 0, 0]]
    y, _ = grid_sample.forward(x, grid(left, (1, 4), False), align_corners=False)
    assert y.tolist() == [[[[0, 1, 2, 3]]]]


@pytest.mark.parametrize("align_corners", [False, True])
def test_mirrors_and_turns_move_whole_pixels(rng, align_corners):
    x = rng.normal(size=(1, 2, 3, 4))
    for theta, size, wanted in [
        ([[-1.0, 0, 0], [0, 1, 0]], (3, 4), x[..., ::-1]),
        ([[0.0, 1, 0], [1, 0, 0]], (4, 3), x.swapaxes(2, 3)),
        ([[0.0, -1, 0], [1, 0, 0]], (4, 3), np.rot90(x, axes=(2, 3))),
    ]:
        y, _ = grid_sample.forward(x, grid([theta], size, align_corners), align_corners=align_corners)
        np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)


def test_gradient_by_hand():
    """Of y's offset: one for every pixel; of x's factors: Σ x, Σ y, over 2 × 4 pixels that are symmetric."""
    where, cache = affine_grid.forward(IDENTITY, size=(2, 4), align_corners=False)
    dtheta, = affine_grid.backward(where, cache)
    assert dtheta.tolist() == [[[2 * 2 * (0.75**2 + 0.25**2), 0, 0], [0, 8 * 0.5**2, 0]]]
    dtheta, = affine_grid.backward(np.ones_like(where), cache)
    assert dtheta.tolist() == [[[0, 0, 8], [0, 0, 8]]]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(3, 4), (1, 4), (3, 1)])
def test_definition_and_laws(rng, size, align_corners):
    theta, options = rng.normal(size=(2, 2, 3)), {"size": size, "align_corners": align_corners}
    where, _ = affine_grid.forward(theta, **options)
    np.testing.assert_allclose(where, definition.forward(theta, **options), rtol=1e-13, atol=1e-14)
    gradcheck.check(affine_grid, (theta,), options, rng)


def test_empty_batch():
    where, cache = affine_grid.forward(np.zeros((0, 2, 3)), size=(2, 4), align_corners=True)
    assert where.shape == (0, 2, 4, 2)
    assert affine_grid.backward(where, cache)[0].shape == (0, 2, 3)


def test_refuses_a_grid_without_points():
    with pytest.raises(ValueError, match=r"size must be at least 1 by 1; got \(0, 3\)"):
        grid(IDENTITY, (0, 3), True)
    with pytest.raises(TypeError, match="size"):
        grid(IDENTITY, 3, True)
    with pytest.raises(TypeError, match="align_corners"):
        affine_grid.forward(IDENTITY, size=(2, 3))
