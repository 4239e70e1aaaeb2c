import numpy as np
import pytest

from visattn.ops.sampling import affine_grid

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid behavior has changed")      # of a single pixel
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(4, 5), (1, 6), (3, 1), (1, 1)], ids=str)
def test_torch(rng, agree, size, align_corners):
    agree(affine_grid, (rng.normal(size=(2, 2, 3)),), {"size": size, "align_corners": align_corners},
          lambda theta: torch.nn.functional.affine_grid(theta, (2, 7, *size), align_corners), atol=1e-12)


def test_torch_leaves_corners_unaligned_where_it_is_not_said(rng):
    theta = rng.normal(size=(2, 2, 3))
    with pytest.warns(UserWarning, match="align_corners=False"):
        theirs = torch.nn.functional.affine_grid(torch.tensor(theta), (2, 7, 4, 5))
    grid, _ = affine_grid.forward(theta, size=(4, 5), align_corners=False)
    np.testing.assert_allclose(grid, theirs, rtol=1e-10)
