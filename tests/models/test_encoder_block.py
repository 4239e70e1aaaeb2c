import numpy as np
import pytest

from visattn import ops, tree
from visattn.models import encoder_block

N, T, D, G = 2, 5, 6, 3


@pytest.fixture
def p(rng):
    return encoder_block.perturbed(encoder_block.init(rng, D, G), rng)


@pytest.fixture
def x(rng):
    return rng.normal(size=(N, T, D))


def test_a_block_that_adds_nothing_is_the_identity(x, p):
    silent = p._replace(msa=p.msa._replace(w_o=0 * p.msa.w_o, b_o=0 * p.msa.b_o),
                        down=p.down._replace(w=0 * p.down.w, b=0 * p.down.b))
    y, _ = encoder_block.forward(x, silent, heads=G)
    assert np.array_equal(y, x)


def test_tokens_have_no_order(x, p, rng):
    order = rng.permutation(T)
    y, cache = encoder_block.forward(x, p, heads=G)
    y2, cache2 = encoder_block.forward(x[:, order], p, heads=G)
    np.testing.assert_allclose(y2, y[:, order], rtol=1e-12)
    np.testing.assert_allclose(cache2.p, cache.p[:, :, order][:, :, :, order], rtol=1e-12)


def test_the_attention_map_is_in_the_cache(x, p):
    _, cache = encoder_block.forward(x, p, heads=G)
    assert cache.p.shape == (N, G, T, T)
    np.testing.assert_allclose(cache.p.sum(-1), 1, rtol=1e-12)


def test_images_do_not_see_each_other(x, p):
    y, _ = encoder_block.forward(x, p, heads=G)
    one, _ = encoder_block.forward(x[1:], p, heads=G)
    np.testing.assert_allclose(one, y[1:], rtol=1e-12)


def test_an_empty_batch_is_empty(x, p):
    y, cache = encoder_block.forward(x[:0], p, heads=G)
    dx, dp = encoder_block.backward(y, cache)
    assert y.shape == dx.shape == (0, T, D)
    assert not any(leaf.any() for leaf in tree.leaves(dp))


def test_operators_come_from_the_namespace_that_is_given(x, p):
    used = []

    class Namespace:
        def __getattr__(self, name):
            operator = getattr(ops, name)
            used.append(name)
            return operator

    y, cache = encoder_block.forward(x, p, heads=G, F=Namespace())
    encoder_block.backward(y, cache)
    assert set(used) == {"layernorm", "multihead", "linear", "gelu"}
    assert len(used) == 12                              # six forward, six backward


@pytest.mark.parametrize(("change", "said"), [
    (lambda x, p: (x[..., :5], p, G), "x must have the 6 features that p was made for; got 5"),
    (lambda x, p: (x, p, 4), "heads must divide 6 and 6, the rows of p.msa; got 4"),
    (lambda x, p: (x, p, 0), "heads must divide"),
    (lambda x, p: (x, tuple(p), G), "p must be a encoder_block.Params; got tuple"),
    (lambda x, p: (x, p._replace(up=p.up.w), G), "p.up must be a linear.Params; got ndarray"),
    (lambda x, p: (x.astype("f4"), p, G), "x is float32 but p.norm1.g is float64"),
])
def test_what_does_not_fit_is_refused_by_name(x, p, change, said):
    x, p, heads = change(x, p)
    with pytest.raises((TypeError, ValueError), match=r"encoder_block\.forward: ") as error:
        encoder_block.forward(x, p, heads=heads)
    assert said in str(error.value)
