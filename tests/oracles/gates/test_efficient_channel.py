import numpy as np
import pytest

from visattn.ops.gates import efficient_channel

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


def through(gate):
    return lambda x, w: torch.func.functional_call(gate, {"conv.weight": w[None, None]}, (x,))


@pytest.mark.parametrize("K", [1, 3, 5, 9])
def test_timm(rng, agree, K):
    layers = pytest.importorskip("timm.layers")
    agree(efficient_channel, (rng.normal(size=(2, 7, 3, 5)), rng.normal(size=K)), {},
          through(layers.EcaModule(kernel_size=K)))


def test_timm_takes_kernels_of_the_same_size_from_eight_channels_on():
    layers = pytest.importorskip("timm.layers")
    theirs = {C: layers.EcaModule(C).conv.kernel_size[0] for C in (1, 4, 7, 8, 64, 128, 256, 512, 1024, 2048, 4096)}
    ours = {C: efficient_channel.kernel_size(C) for C in theirs}
    assert {C: (ours[C], theirs[C]) for C in theirs if ours[C] != theirs[C]} == {1: (1, 3), 4: (1, 3), 7: (1, 3)}


def test_timms_circular_variant_joins_the_first_channel_to_the_last(rng):
    layers = pytest.importorskip("timm.layers")
    (x, w), _ = efficient_channel.example(rng)
    y, _ = efficient_channel.forward(x, w)
    with torch.no_grad():
        theirs = through(layers.CecaModule(kernel_size=3))(torch.tensor(x), torch.tensor(w)).numpy()
    np.testing.assert_allclose(y[:, 1:-1], theirs[:, 1:-1], rtol=1e-10)
    assert (np.abs(y - theirs).max(axis=(2, 3))[:, [0, -1]] > 1e-3).all()
