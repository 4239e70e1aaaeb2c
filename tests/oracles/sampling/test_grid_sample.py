import itertools

import numpy as np
import pytest

from visattn.ops.sampling import grid_sample

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

MODES, PADDINGS, CORNERS = ("bilinear", "nearest"), ("zeros", "border", "reflection"), (False, True)


VARIANTS = pytest.mark.parametrize(("mode", "padding", "align_corners"),
                                   list(itertools.product(MODES, PADDINGS, CORNERS)))


@VARIANTS
@pytest.mark.parametrize("size", [(5, 7), (1, 4), (3, 1)], ids=str)
def test_torch(rng, agree, size, mode, padding, align_corners):
    x, grid = rng.normal(size=(2, 3, *size)), rng.uniform(-3, 3, size=(2, 4, 6, 2))
    agree(grid_sample, (x, grid), {"mode": mode, "padding": padding, "align_corners": align_corners},
          lambda *args: torch.nn.functional.grid_sample(*args, mode, padding, align_corners), atol=1e-12)


@VARIANTS
def test_torch_at_integers_halves_borders_and_beyond(rng, agree, mode, padding, align_corners):
    """Quarters of pixels, from three pixels outside to three on the other side; the sizes make them exact in binary."""
    H, W = (3, 5) if align_corners else (4, 8)
    u, v = (np.arange(-3, n + 2.25, 0.25) for n in (W, H))
    at = (lambda u, n: 2 * u / (n - 1) - 1) if align_corners else (lambda u, n: (2 * u + 1) / n - 1)
    grid = np.stack(np.meshgrid(at(u, W), at(v, H)), -1)[None]
    agree(grid_sample, (rng.normal(size=(1, 3, H, W)), grid),
          {"mode": mode, "padding": padding, "align_corners": align_corners},
          lambda *args: torch.nn.functional.grid_sample(*args, mode, padding, align_corners), atol=1e-12)


def test_torch_reads_without_align_corners_where_it_is_not_said(rng):
    (x, grid), _ = grid_sample.example(rng)
    with pytest.warns(UserWarning, match="align_corners=False"):
        theirs = torch.nn.functional.grid_sample(torch.tensor(x), torch.tensor(grid))
    np.testing.assert_allclose(grid_sample.forward(x, grid, align_corners=False)[0], theirs, rtol=1e-10, atol=1e-12)
    assert np.abs(grid_sample.forward(x, grid, align_corners=True)[0] - theirs.numpy()).max() > 0.1


@pytest.mark.parametrize(("mode", "padding", "read"), [
    ("bilinear", "zeros", [np.nan, np.nan]),
    ("bilinear", "border", [5, 2.5]),
    ("bilinear", "reflection", [5, 2.5]),
    ("nearest", "zeros", [0, 0]),
    ("nearest", "border", [5, 3]),
    ("nearest", "reflection", [5, 3]),
])
def test_torch_reads_a_pixel_where_a_coordinate_is_nan(mode, padding, read):
    """Here it is NaN in all six.  Torch's gradient is not asked for: with a border it reads outside of its memory."""
    x = np.arange(1.0, 13).reshape(1, 1, 3, 4)
    grid = np.array([[np.nan, 0], [0, np.nan]]).reshape(1, 1, 2, 2)
    theirs = torch.nn.functional.grid_sample(torch.tensor(x), torch.tensor(grid), mode, padding, align_corners=False)
    np.testing.assert_array_equal(theirs[0, 0, 0], read)
    assert np.isnan(grid_sample.forward(x, grid, mode=mode, padding=padding, align_corners=False)[0]).all()


def test_scipy_with_a_border(rng):
    ndimage = pytest.importorskip("scipy.ndimage")
    x, grid = rng.normal(size=(1, 1, 5, 7)), rng.uniform(-1.4, 1.4, size=(1, 4, 6, 2))
    y, _ = grid_sample.forward(x, grid, padding="border", align_corners=True)
    rows, columns = (grid[0, ..., 1] + 1) * (5 - 1) / 2, (grid[0, ..., 0] + 1) * (7 - 1) / 2
    expected = ndimage.map_coordinates(x[0, 0], [rows, columns], order=1, mode="nearest")
    np.testing.assert_allclose(y[0, 0], expected, rtol=1e-10, atol=1e-12)
