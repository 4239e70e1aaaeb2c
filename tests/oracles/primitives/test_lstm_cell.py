"""The LSTM step against torch and keras."""

import numpy as np
import pytest

from visattn.ops import lstm_cell

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


def test_torch(rng, agree):
    args, _ = lstm_cell.example(rng)
    agree(lstm_cell, args, {}, lambda x, h, c, *p: torch.lstm_cell(x, (h, c), *p))


def test_parameters_are_those_of_torch_in_their_order(rng):
    cell = torch.nn.LSTMCell(3, 5)
    p = [w.detach().numpy() for w in cell.parameters()]
    x, h, c = (a for a in lstm_cell.example(rng)[0][:3])
    theirs = cell(torch.tensor(x), (torch.tensor(h), torch.tensor(c)))
    np.testing.assert_allclose(lstm_cell.forward(x, h, c, *p)[0], [a.detach().numpy() for a in theirs], rtol=1e-10)
    assert [w.shape for w in lstm_cell.init(rng, 3, 5)] == [w.shape for w in p]


def test_five_steps_of_torch(rng):
    lstm = torch.nn.LSTM(3, 5)
    p = [w.detach().numpy() for w in lstm.parameters()]
    xs = rng.normal(size=(5, 2, 3))
    h = c = np.zeros((2, 5))
    for x in xs:
        (h, c), _ = lstm_cell.forward(x, h, c, *p)
    _, (theirs_h, theirs_c) = lstm(torch.tensor(xs))
    np.testing.assert_allclose(h, theirs_h[0].detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(c, theirs_c[0].detach().numpy(), rtol=1e-10)


def test_keras_has_the_same_order_transposed_kernels_and_one_bias(rng):
    """To float32, in which it multiplies matrices on its torch backend."""
    keras = pytest.importorskip("keras")
    (x, h, c, wx, wh, bx, bh), _ = lstm_cell.example(rng)
    cell = keras.layers.LSTMCell(5, dtype="float64")
    cell.build(x.shape)
    assert cell.bias.value.tolist() == lstm_cell.init(rng, 3, 5).bx.tolist()        # unit_forget_bias
    cell.set_weights([wx.T, wh.T, bx + bh])
    _, theirs = cell(torch.tensor(x), [torch.tensor(h), torch.tensor(c)])
    np.testing.assert_allclose(lstm_cell.forward(x, h, c, wx, wh, bx, bh)[0], [a.detach().numpy() for a in theirs],
                               rtol=1e-5, atol=1e-6)
