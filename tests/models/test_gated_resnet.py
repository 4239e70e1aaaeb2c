import numpy as np
import pytest

from visattn import gradcheck, ops, optim, tree
from visattn.models import gated_resnet
from visattn.models.residual_block import GATES

gates = pytest.mark.parametrize("gate", GATES)


def weights(rng, gate="none"):
    return gated_resnet.perturbed(gated_resnet.init(rng, (3, 3, 4), O=5, C=2, gate=gate, r=2), rng)


@pytest.fixture
def x(rng):
    return rng.normal(size=(3, 2, 5, 6))


@gates
def test_obeys_the_laws_with_every_gate(gate, x, rng):
    gradcheck.check(gated_resnet, (x, weights(rng, gate)), {}, rng)


def test_obeys_the_laws_at_inference_and_with_a_stride(x, rng):
    p = weights(rng, "cbam")
    running = gated_resnet.update(gated_resnet.start(p), gated_resnet.forward(x, p)[1].stats)
    gradcheck.check(gated_resnet, (x, p), {"running": running, "stride": 2}, rng)


def test_running_statistics_become_those_of_a_batch_that_comes_again_and_again(x, rng):
    p = weights(rng)
    y, cache = gated_resnet.forward(x, p)
    running = gated_resnet.start(p)
    for _ in range(300):
        running = gated_resnet.update(running, cache.stats)
    for kept, seen in zip(tree.leaves(running), tree.leaves(cache.stats), strict=True):
        np.testing.assert_allclose(kept, seen, rtol=1e-10, atol=1e-12)
    # What is left is the biased variance in training and the unbiased one here.
    np.testing.assert_allclose(gated_resnet.forward(x, p, running=running)[0], y, rtol=0.2, atol=0.2)


def test_an_update_by_hand(rng):
    p = weights(rng)
    start = gated_resnet.start(p)
    stats = tree.map(lambda a: a + 3, start)            # mean 3, variance 4
    after = gated_resnet.update(start, stats, momentum=0.25)
    assert after.stem.mean == pytest.approx(0.75)
    assert after.stem.var == pytest.approx(1.75)


def test_at_inference_images_do_not_see_each_other(x, rng):
    p = weights(rng, "squeeze_excite")
    running = gated_resnet.start(p)
    y, _ = gated_resnet.forward(x, p, running=running)
    np.testing.assert_allclose(gated_resnet.forward(x[:1], p, running=running)[0], y[:1], rtol=1e-10)


def test_features_and_gates_are_in_the_cache(x, rng):
    p = weights(rng, "cbam")
    y, cache = gated_resnet.forward(x, p)
    assert cache.features.shape == (3, 4, 3, 3)
    np.testing.assert_allclose(cache.features.mean((2, 3)) @ p.head.w.T + p.head.b, y, rtol=1e-12)
    assert cache.blocks[0].gate.channel.s.shape == (3, 3)
    assert cache.blocks[1].gate.spatial.s.shape == (3, 1, 3, 3)


@gates
def test_learns_a_batch_by_heart(gate, rng):
    x, labels = rng.normal(size=(12, 1, 6, 6)), np.arange(12) % 4
    p, state = gated_resnet.init(rng, (4, 4, 8), O=4, gate=gate), None
    for _ in range(30):
        scores, cache = gated_resnet.forward(x, p)
        loss, kept = ops.cross_entropy.forward(scores, labels=labels)
        _, dp = gated_resnet.backward(ops.cross_entropy.backward(1.0, kept)[0], cache)
        p, state = optim.adam(p, dp, state, lr=0.02)
    assert loss < 0.2
    assert (scores.argmax(1) == labels).all()


def test_what_does_not_fit_is_refused_by_name(x, rng):
    p = weights(rng)
    for call, said in [
        (lambda: gated_resnet.forward(x[:, :1], p), "x must have the 2 channels that p was made for; got 1"),
        (lambda: gated_resnet.forward(x, p, stride=0), "stride must be at least 1; got 0"),
        (lambda: gated_resnet.forward(x, p, running=1), "running must be"),
        (lambda: gated_resnet.forward(x, p, running=gated_resnet.start(p._replace(blocks=()))),
         "running must have statistics of 2 blocks; got 0"),
        (lambda: gated_resnet.forward(x, p.stem), "p must be a gated_resnet.Params; got Layer"),
    ]:
        with pytest.raises((TypeError, ValueError), match=r"gated_resnet\.forward: ") as error:
            call()
        assert said in str(error.value)
