import itertools

import numpy as np
import pytest
from strict import get, put

from visattn import gradcheck
from visattn.check.definitions.sampling import grid_sample as definition
from visattn.ops.sampling import grid_sample

MODES, PADDINGS, CORNERS = ("bilinear", "nearest"), ("zeros", "border", "reflection"), (False, True)
VARIANTS = [{"mode": m, "padding": p, "align_corners": a} for m, p, a in itertools.product(MODES, PADDINGS, CORNERS)]
X = np.array([[[[1.0, 2, 3, 4], [5, 6, 7, 8]]]])                    # 2 rows, 4 columns


def look(x, *points, dy=None, **options):
    """y, or with dy (dx, dgrid), of the first channel of one image at some points (x, y)."""
    y, cache = grid_sample.forward(x, np.array(points, x.dtype)[None, None], **options)
    if dy is None:
        return y[0, 0, 0].tolist()
    dx, dgrid = grid_sample.backward(np.array(dy, x.dtype)[None, None, None], cache)
    return dx[0, 0].tolist(), dgrid[0, 0].tolist()


def test_by_hand():
    assert look(X, (0, 0), align_corners=False) == [(2 + 3 + 6 + 7) / 4]
    assert look(X, (-0.5, -0.5), align_corners=False) == [1.5]              # u = 0.5, v = 0
    assert look(X, (1, -1), (-1, 1), align_corners=True) == [4, 5]          # right and top, left and bottom
    assert look(X, (1 / 3, 0), align_corners=True) == [5]                   # u = 2, v = 0.5: (3 + 7) / 2


def test_a_corner_without_align_corners_is_a_quarter_inside():
    assert look(X, (-1, -1), (1, 1), align_corners=False) == [1 / 4, 8 / 4]
    assert look(X, (-1, -1), (1, 1), align_corners=False, padding="border") == [1, 8]


def test_gradients_by_hand():
    dx, dgrid = look(X, (0, 0), dy=[8.0], align_corners=False)
    assert dx == [[0, 2, 2, 0], [0, 2, 2, 0]]
    assert dgrid == [[8 * 1 * 4 / 2, 8 * 4 * 2 / 2]]        # slope per pixel, pixels per unit of g: W / 2, H / 2
    _, dgrid = look(X, (0, 0), dy=[8.0], align_corners=True)
    assert dgrid == [[8 * 1 * 3 / 2, 8 * 4 * 1 / 2]]        # (W - 1) / 2, (H - 1) / 2


def test_gradients_of_points_that_read_the_same_pixel_add():
    dx, _ = look(X, (-0.75, -0.5), (-0.75, -0.5), (-0.25, -0.5), dy=[1.0, 2, 4], align_corners=False)
    assert dx == [[3, 4, 0, 0], [0, 0, 0, 0]]


def test_the_centres_of_the_pixels_give_the_image_back(rng):
    x = rng.normal(size=(2, 3, 4, 8))
    for align_corners in CORNERS:
        column, row = (np.linspace(-1, 1, n) * (1 if align_corners else (n - 1) / n) for n in (8, 4))
        grid = np.broadcast_to(np.stack(np.meshgrid(column, row), -1), (2, 4, 8, 2))
        for mode in MODES:
            y, _ = grid_sample.forward(x, grid, mode=mode, align_corners=align_corners)
            np.testing.assert_allclose(y, x, rtol=1e-13, atol=1e-13)


def test_a_slope_is_read_exactly(rng):
    """A bilinear function of the place has no error of interpolation."""
    x = (3 + 2 * np.arange(5.0) - np.arange(4.0)[:, None] + np.arange(5.0) * np.arange(4.0)[:, None])[None, None]
    grid = rng.uniform(-1, 1, size=(1, 6, 7, 2))
    y, _ = grid_sample.forward(x, grid, align_corners=True)
    u, v = (grid[..., 0] + 1) * 2, (grid[..., 1] + 1) * 1.5
    np.testing.assert_allclose(y[:, 0], 3 + 2 * u - v + u * v, rtol=1e-13)


def test_images_and_channels_do_not_mix(rng):
    (x, grid), options = grid_sample.example(rng)
    y, cache = grid_sample.forward(x, grid, **options)
    other = x.copy()
    other[1, 2] += 1
    y2, _ = grid_sample.forward(other, grid, **options)
    moved = np.argwhere((y2 != y).any(axis=(2, 3)))
    assert moved.tolist() == [[1, 2]]
    dx, dgrid = grid_sample.backward((np.arange(2) == 1)[:, None, None, None] * np.ones_like(y), cache)
    assert not dx[0].any()
    assert not dgrid[0].any()


@pytest.mark.parametrize("padding", ["border", "reflection"])
def test_each_padding_by_hand(padding):
    row = np.array([[[[1.0, 2, 4, 8]]]])
    points = [(g, 0) for g in (-1.5, -1.25, -0.75, 1.25, 1.75, 3.25)]       # u = -1.5 -1 0 4 5 8
    wanted = {"border": [1, 1, 1, 8, 8, 8], "reflection": [1.5, 1, 1, 8, 4, 1]}
    assert look(row, *points, align_corners=False, padding=padding) == wanted[padding]
    assert look(row, *points, align_corners=False) == [0, 0, 1, 0, 0, 0]

    points = [(u / 1.5 - 1, 0) for u in (-1, 0, 3, 4, 5.5, 7)]              # with align_corners
    wanted = {"border": [1, 1, 8, 8, 8, 8], "reflection": [2, 1, 8, 4, 1.5, 2]}
    got = look(row, *points, align_corners=True, padding=padding)
    np.testing.assert_allclose(got, wanted[padding], rtol=1e-13)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
@pytest.mark.parametrize("size", [(4, 6), (1, 5), (3, 1), (1, 1)], ids=str)
def test_definition_and_laws_for_every_variant(rng, variant, size):
    x, grid = rng.normal(size=(2, 3, *size)), rng.uniform(-2.7, 2.7, size=(2, 4, 5, 2))
    y, _ = grid_sample.forward(x, grid, **variant)
    np.testing.assert_allclose(y, definition.forward(x, grid, **variant), rtol=1e-12, atol=1e-12)
    gradcheck.check(grid_sample, (x, grid), variant, rng)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_every_variant_runs_on_the_strict_double(rng, variant):
    (x, grid), _ = grid_sample.example(rng)
    y, cache = grid_sample.forward(x, grid, **variant)
    y2, cache2 = grid_sample.forward(put(x), put(grid), **variant)
    np.testing.assert_array_equal(get(y2), y)
    for mine, theirs in zip(grid_sample.backward(y, cache), grid_sample.backward(y2, cache2), strict=True):
        np.testing.assert_array_equal(get(theirs), mine)


ROW = np.array([[[[1.0, 2, 4, 8]]]])                                # 4 columns: slopes 1, 2, 4, and to zero ±1, -8


def slopes(*us, padding, align_corners=True):
    """dy/du at row 0 of ROW; u in pixels, and (W - 1) / 2 = 1.5, W / 2 = 2 taken out again."""
    points = [(u / 1.5 - 1 if align_corners else (u + 0.5) / 2 - 1, 0) for u in us]
    _, dgrid = look(ROW, *points, dy=np.ones(len(us)), padding=padding, align_corners=align_corners)
    return [dg / (1.5 if align_corners else 2) for dg, _ in dgrid]


def test_at_an_integer_the_derivative_is_the_one_from_the_right():
    assert slopes(1, 2, padding="zeros", align_corners=False) == [2, 4]
    for padding in PADDINGS:
        assert slopes(1.5, 2.5, padding=padding, align_corners=False) == [2, 4]     # between, there is one


def test_at_an_integer_equation_7_of_the_paper_is_no_derivative():
    """It weighs pixel m with 0 where |m - u| ≥ 1, and else with +1 where m ≥ u: at u = 1 only with x_1 itself, so that
    a brighter image has a larger one.  Between pixels it is the derivative."""

    def paper(row, u):
        m = np.arange(4)
        return (row * np.where(abs(m - u) >= 1, 0, np.where(m >= u, 1, -1))).sum()

    row = ROW[0, 0, 0]
    assert [paper(row, 1), paper(row + 10, 1)] == [2, 12]
    assert [paper(row, 1.5), paper(row + 10, 1.5)] == [2, 2] == slopes(1.5, 1, padding="zeros", align_corners=False)


def test_with_zeros_outside_the_derivative_sees_them():
    assert slopes(-1, -0.5, 0, 3, 3.5, 4, padding="zeros", align_corners=False) == [1, 1, 1, -8, -8, 0]
    assert slopes(0, 3, padding="zeros") == [1, -8]                                 # at g = ±1


def test_at_and_beyond_a_border_the_derivative_is_zero():
    assert slopes(-1, -0.5, 0, 3, 3.5, 9, padding="border", align_corners=False) == [0] * 6
    assert slopes(0, 3, padding="border") == [0, 0]
    assert slopes(0.25, 2.75, padding="border", align_corners=False) == [1, 4]      # inside, it is not


def test_a_reflection_turns_the_derivative_around():
    inside = [-1.75, -1.25, 0.5, 2.5, 4.5, 5.5, 8.5]
    assert slopes(*inside, padding="reflection", align_corners=False) == [-1, -1, 1, 4, -4, -2, 1]
    assert slopes(-1, -0.5, 0, 3, 3.5, 4, 7, padding="reflection", align_corners=False) == [0] * 7
    assert slopes(0, 3, padding="reflection") == [0, 0]


def test_nearest_rounds_halves_to_even_and_has_no_derivative():
    points = [(g, -0.5) for g in (-0.5, 0, 0.5, -0.51, -0.49)]              # u = 0.5 1.5 2.5, just below, just above
    assert look(X, *points, mode="nearest", align_corners=False) == [1, 3, 3, 1, 2]
    dx, dgrid = look(X, *points, dy=[1.0, 2, 4, 8, 16], mode="nearest", align_corners=False)
    assert dx == [[9, 16, 6, 0], [0, 0, 0, 0]]
    assert dgrid == [[0, 0]] * 5


def test_far_outside_there_is_nothing_and_no_warning():
    points = [(1e30, 0), (0, -1e30), (1e300, 1e300)]
    assert look(X, *points, align_corners=False) == [0, 0, 0]
    dx, dgrid = look(X, *points, dy=[1.0, 1, 1], align_corners=False)
    assert not np.any(dx)
    assert not np.any(dgrid)
    assert look(X, (1e30, 0), (-np.inf, -1), align_corners=False, padding="border") == [6, 1]


def test_what_a_pixel_holds_does_not_leak_outside():
    x = np.where(X == 8, np.nan, X)
    assert look(x, (5, 5), (-0.5, -0.5), align_corners=False) == [0, 1.5]
    _, dgrid = look(x, (5, 5), dy=[1.0], align_corners=False)
    assert dgrid == [[0, 0]]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_a_coordinate_that_is_nan_spoils_its_own_point_alone(variant):
    nan = np.nan
    points = [(nan, 0), (0, nan), (nan, nan), (-0.4, -0.6)]
    y = look(X, *points, **variant)
    assert np.isnan(y).tolist() == [True, True, True, False]
    dx, dgrid = look(X, *points, dy=[1.0, 2, 4, 8], **variant)
    alone, point = look(X, points[3], dy=[8.0], **variant)
    assert dx == alone
    assert dgrid[3] == point[0]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_empty_batch(variant):
    x, grid = np.zeros((0, 3, 4, 5)), np.zeros((0, 2, 6, 2))
    y, cache = grid_sample.forward(x, grid, **variant)
    assert y.shape == definition.forward(x, grid, **variant).shape == (0, 3, 2, 6)
    assert [g.shape for g in grid_sample.backward(y, cache)] == [x.shape, grid.shape]


def test_align_corners_must_be_said():
    with pytest.raises(TypeError, match="align_corners"):
        grid_sample.forward(X, np.zeros((1, 1, 1, 2)))


def test_refuses_other_words():
    grid = np.zeros((1, 1, 1, 2))
    with pytest.raises(ValueError, match="mode must be one of 'bilinear', 'nearest'; got 'bicubic'"):
        grid_sample.forward(X, grid, mode="bicubic", align_corners=True)
    with pytest.raises(ValueError, match="padding must be one of 'zeros', 'border', 'reflection'; got 'wrap'"):
        grid_sample.forward(X, grid, padding="wrap", align_corners=True)
    with pytest.raises(ValueError, match=r"grid must be .* axes \(N, Ho, Wo, 2\)"):
        grid_sample.forward(X, np.zeros((1, 1, 1, 3)), align_corners=True)
