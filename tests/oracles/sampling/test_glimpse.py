import numpy as np
import pytest

from visattn.ops.sampling import glimpse

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


def retina(x, loc, size, patches, factor):
    """From the paper, with torch's affine_grid, grid_sample and avg_pool2d: a square window of the image around loc,
    read pixel by pixel, and made coarse."""
    (N, C, H, W), F = x.shape, torch.nn.functional
    coarse = []
    for k in range(patches):
        n = size * factor**k
        zoom = torch.tensor([[n / W, 0], [0, n / H]]).expand(N, 2, 2)
        grid = F.affine_grid(torch.cat([zoom, loc[:, :, None]], 2), (N, C, n, n), align_corners=False)
        coarse.append(F.avg_pool2d(F.grid_sample(x, grid, align_corners=False), factor**k))
    return torch.stack(coarse, 1)


@pytest.mark.parametrize("options", [{"size": 4, "patches": 1, "factor": 2}, {"size": 2, "patches": 3, "factor": 2},
                                     {"size": 3, "patches": 2, "factor": 3}], ids=str)
def test_torch(rng, agree, options):
    agree(glimpse, (rng.normal(size=(2, 3, 6, 8)), rng.uniform(-1.2, 1.2, size=(2, 2))), options,
          lambda x, loc: retina(x, loc, **options), atol=1e-12)


def test_torchvisions_crop_agrees_on_whole_pixels(rng):
    """The retina of the paper, cut at whole pixels, with zeros outside."""
    crop = pytest.importorskip("torchvision.transforms.functional").crop
    x = rng.normal(size=(1, 3, 8, 12))
    for row, column in [(4, 6), (0, 0), (8, 3), (1, 12)]:
        y, _ = glimpse.forward(x, np.array([[column / 6 - 1, row / 4 - 1]]), size=4, patches=2)
        for k, n in enumerate((4, 8)):
            cut = crop(torch.tensor(x), row - n // 2, column - n // 2, n, n)
            expected = torch.nn.functional.avg_pool2d(cut, 2**k)
            np.testing.assert_allclose(y[:, k], expected, rtol=1e-10, atol=1e-12)
