"""The conventions listed with the operators of sampling are those of the libraries they name: these are run."""

import numpy as np
import pytest

from visattn.check import changes
from visattn.ops import affine_grid, glimpse, grid_sample

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


def meant(op, name):
    """The operator as the convention of this name has it."""
    change, = (c for c in changes.own(op.__name__) if (c.name, c.kind) == (name, "convention"))
    return changes.changed(op, change)


@pytest.mark.filterwarnings("ignore:Default grid_sample and affine_grid behavior has changed")
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_torch_does_not_align_corners_where_it_is_not_said(rng, agree, padding):
    (x, grid), _ = grid_sample.example(rng)
    agree(meant(grid_sample, "corners_never_aligned"), (x, grid), {"align_corners": True, "padding": padding},
          lambda x, grid: torch.nn.functional.grid_sample(x, grid, padding_mode=padding), atol=1e-12)


@pytest.mark.filterwarnings("ignore:Default grid_sample and affine_grid behavior has changed")
def test_torchs_affine_grid_does_not_either(rng, agree):
    agree(meant(affine_grid, "corners_never_aligned"), (rng.normal(size=(2, 2, 3)),),
          {"size": (4, 5), "align_corners": True},
          lambda theta: torch.nn.functional.affine_grid(theta, (2, 1, 4, 5)), atol=1e-12)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_torch_with_aligned_corners_as_it_was_before(rng, agree, padding):
    (x, grid), _ = grid_sample.example(rng)
    agree(meant(grid_sample, "corners_always_aligned"), (x, grid), {"align_corners": False, "padding": padding},
          lambda x, grid: torch.nn.functional.grid_sample(x, grid, padding_mode=padding, align_corners=True),
          atol=1e-12)


def test_torchs_affine_grid_with_aligned_corners_as_it_was_before(rng, agree):
    agree(meant(affine_grid, "corners_always_aligned"), (rng.normal(size=(2, 2, 3)),),
          {"size": (4, 5), "align_corners": False},
          lambda theta: torch.nn.functional.affine_grid(theta, (2, 1, 4, 5), align_corners=True), atol=1e-12)


def test_torchvision_says_where_the_input_goes(rng):
    """It moves the picture by pixels to the right and down, turns and enlarges it, all about the middle."""
    functional = pytest.importorskip("torchvision.transforms.functional")
    H, W, angle, size, right, down = 6, 8, 30.0, 1.5, 2, -1
    x = rng.normal(size=(1, 3, H, W))
    theirs = functional.affine(torch.from_numpy(x), angle, [right, down], size, [0.0],
                               interpolation=functional.InterpolationMode.BILINEAR)
    c, s = size * np.cos(np.deg2rad(angle)), size * np.sin(np.deg2rad(angle))
    pixels = np.array([[c, -s, right], [s, c, down]])           # of the input to those of the output, from the middle
    theta = pixels * [[2 / W], [2 / H]] * [W / 2, H / 2, 1]
    grid, _ = meant(affine_grid, "theta_from_input_to_output").forward(theta[None], size=(H, W), align_corners=False)
    ours, _ = grid_sample.forward(x, grid, align_corners=False)
    # It fills with black and blends, where ours fades into zeros: the same for zeros, but for its last digits.
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, 3])
def test_torchvisions_crop_is_of_whole_pixels(rng, size):
    crop = pytest.importorskip("torchvision.transforms.functional").crop
    x = rng.normal(size=(1, 2, 8, 12))
    for row, column in [(4.3, 6.8), (0.2, 11.9), (7.6, 3.1)]:
        ours, _ = meant(glimpse, "whole_pixels").forward(
            x, np.array([[column / 6 - 1, row / 4 - 1]]), size=size, patches=2)
        for k, n in enumerate((size, 2 * size)):
            cut = crop(torch.tensor(x), int(row) - n // 2, int(column) - n // 2, n, n)
            np.testing.assert_allclose(ours[:, k], torch.nn.functional.avg_pool2d(cut, 2**k), rtol=1e-10, atol=1e-12)


def test_a_detached_location_has_no_gradient_in_torch(rng):
    """And the image has the same as ever."""
    (x, loc), options = glimpse.example(rng)
    module = meant(glimpse, "location_detached")
    y, cache = module.forward(x, loc, **options)
    dy = rng.normal(size=y.shape)
    dx, dloc = module.backward(dy, cache)

    tx, tloc = (torch.tensor(a, requires_grad=True) for a in (x, loc))
    theirs = 0
    for k, look in enumerate(cache.looks):
        s, (H, W) = cache.factor**k, x.shape[2:]
        n = cache.size * s
        zoom = torch.tensor([[n / W, 0], [0, n / H]]).expand(len(x), 2, 2)
        theta = torch.cat([zoom, tloc.detach()[:, :, None]], 2)
        grid = torch.nn.functional.affine_grid(theta, (*x.shape[:2], n, n), align_corners=False)
        np.testing.assert_allclose(grid, look.grid, rtol=1e-10, atol=1e-12)
        patch = torch.nn.functional.grid_sample(tx, grid, align_corners=False)
        theirs = theirs + (torch.nn.functional.avg_pool2d(patch, s) * torch.tensor(dy[:, k])).sum()
    theirs.backward()
    np.testing.assert_allclose(dx, tx.grad, rtol=1e-10, atol=1e-12)
    assert tloc.grad is None
    assert not dloc.any()
