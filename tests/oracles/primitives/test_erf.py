"""The error function against torch and, in its tail, against torch.special."""

import numpy as np
import pytest

from visattn.ops import erf

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("scale", [1e-300, 1e-3, 1, 5])
def test_torch(rng, agree, scale):
    agree(erf, (rng.normal(0, scale, size=500),), {}, torch.erf, rtol=1e-12, atol=0)


def test_scaled_complement():
    z = np.concatenate([np.linspace(0, 30, 3001), 10.0 ** np.linspace(-20, 6, 100)])
    np.testing.assert_allclose(erf.scaled(z), torch.special.erfcx(torch.tensor(z)).numpy(), rtol=2e-15)
