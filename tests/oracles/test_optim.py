"""The optimisers against torch.optim: ten steps on the same gradients."""

import numpy as np
import pytest

from visattn import optim

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

PAIRS = {
    "sgd": (optim.sgd, "SGD", {}, {}),
    "momentum": (optim.momentum, "SGD", {"mu": 0.8}, {"momentum": 0.8}),
    "adam": (optim.adam, "Adam", {"beta1": 0.8, "beta2": 0.95}, {"betas": (0.8, 0.95)}),
    "adamw": (optim.adamw, "AdamW", {"decay": 0.3, "eps": 1e-3}, {"weight_decay": 0.3, "eps": 1e-3}),
}


@pytest.mark.parametrize(("ours", "theirs", "options", "their_options"), PAIRS.values(), ids=PAIRS)
def test_ten_steps_agree(ours, theirs, options, their_options, rng):
    p, state = (rng.normal(size=(3, 2)), rng.normal(size=4)), None
    t = [torch.tensor(a, requires_grad=True) for a in p]
    optimiser = getattr(torch.optim, theirs)(t, lr=0.1, **their_options)
    for _ in range(10):
        g = tuple(rng.normal(size=a.shape) for a in p)
        p, state = ours(p, g, state, lr=0.1, **options)
        for a, da in zip(t, g, strict=True):
            a.grad = torch.tensor(da)
        optimiser.step()
        for a, b in zip(p, t, strict=True):
            np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-10)


def test_schedule_agrees():
    w = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.SGD([w], lr=2.0)
    up = torch.optim.lr_scheduler.LinearLR(optimiser, start_factor=1 / 3, total_iters=2)
    down = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=9)
    both = torch.optim.lr_scheduler.SequentialLR(optimiser, [up, down], milestones=[3])
    for step in range(12):
        assert optim.cosine(step, 12, peak=2.0, warmup=3) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-10)
        optimiser.step()
        both.step()


def test_clipping_agrees(rng):
    g = tuple(rng.normal(size=shape) for shape in ((3, 2), (4,)))
    t = [torch.zeros(a.shape, requires_grad=True) for a in g]
    for a, da in zip(t, g, strict=True):
        a.grad = torch.tensor(da)
    norm = torch.nn.utils.clip_grad_norm_(t, 0.5)
    clipped, ours = optim.clip(g, 0.5)
    assert ours == pytest.approx(float(norm), rel=1e-12)
    for a, b in zip(clipped, t, strict=True):
        np.testing.assert_allclose(a, b.grad.numpy(), rtol=1e-5)       # torch divides by norm + 1e-6
