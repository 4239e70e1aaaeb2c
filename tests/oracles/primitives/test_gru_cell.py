"""The GRU step against torch and keras, and the two formulas that share its name."""

import numpy as np
import pytest

from visattn.ops import gru_cell

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


def test_torch(rng, agree):
    args, _ = gru_cell.example(rng)
    agree(gru_cell, args, {}, torch.gru_cell)


def test_parameters_are_those_of_torch_in_their_order(rng):
    cell = torch.nn.GRUCell(3, 5)
    p = [w.detach().numpy() for w in cell.parameters()]
    x, h = gru_cell.example(rng)[0][:2]
    np.testing.assert_allclose(gru_cell.forward(x, h, *p)[0], cell(torch.tensor(x), torch.tensor(h)).detach().numpy(),
                               rtol=1e-10)
    assert [w.shape for w in gru_cell.init(rng, 3, 5)] == [w.shape for w in p]


def keras_cell(rng, reset_after):
    """A keras cell with our weights in its order, z, r, n; its answer and our arguments.

    It multiplies matrices in float32 on its torch backend: hence the tolerances.
    """
    keras = pytest.importorskip("keras")
    (x, h, wx, wh, bx, bh), _ = gru_cell.example(rng)
    if not reset_after:
        bh = 0 * bh                                                         # it has one bias
    order = np.r_[5:10, 0:5, 10:15]
    cell = keras.layers.GRUCell(5, reset_after=reset_after, dtype="float64")
    cell.build(x.shape)
    cell.set_weights([wx[order].T, wh[order].T, np.stack([bx[order], bh[order]]) if reset_after else bx[order]])
    theirs, _ = cell(torch.tensor(x), [torch.tensor(h)])
    return theirs.detach().numpy(), (x, h, wx, wh, bx, bh)


def test_keras_resets_after_the_product_by_default(rng):
    keras = pytest.importorskip("keras")
    assert keras.layers.GRUCell(5).reset_after
    theirs, args = keras_cell(rng, reset_after=True)
    np.testing.assert_allclose(gru_cell.forward(*args)[0], theirs, rtol=1e-5, atol=1e-6)


def test_keras_can_reset_before_it_as_the_paper_does(rng):
    theirs, (x, h, wx, wh, bx, bh) = keras_cell(rng, reset_after=False)
    ours, cache = gru_cell.forward(x, h, wx, wh, bx, bh)
    assert abs(ours - theirs).max() > 0.01
    candidate = np.tanh(x @ wx[10:].T + bx[10:] + (cache.r * h) @ wh[10:].T)
    np.testing.assert_allclose((1 - cache.z) * candidate + cache.z * h, theirs, rtol=1e-5, atol=1e-6)
