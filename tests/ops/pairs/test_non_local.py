"""What is true of the non-local block in particular, in each of its four forms."""

import typing

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check import definitions
from visattn.ops import non_local

FORMS = typing.get_args(non_local.Form)


def block(form, rng, C=5, M=6, shape=(2, 3, 4)):
    N, H, W = shape
    p = non_local.init(rng, C, M, form=form)._replace(w_z=rng.normal(size=(C, M)))
    return gradcheck.given((rng.normal(size=(N, C, H, W)), *p))


@pytest.mark.parametrize("form", FORMS)
def test_agrees_with_its_definition_and_obeys_the_laws(form, rng):
    args = block(form, rng)
    y, _ = non_local.forward(*args, form=form)
    np.testing.assert_allclose(y, definitions.non_local.forward(*args, form=form), rtol=1e-11, atol=1e-12)
    gradcheck.check(non_local, args, {"form": form}, rng)


@pytest.mark.parametrize("form", FORMS)
def test_it_starts_as_the_identity(form, rng):
    x = rng.normal(size=(2, 5, 3, 4))
    y, _ = non_local.forward(x, *non_local.init(rng, 5, form=form), form=form)
    assert np.array_equal(y, x)


@pytest.mark.parametrize("form", FORMS)
def test_moving_the_pixels_moves_the_answers_and_nothing_else(form, rng):
    x, *p = block(form, rng)
    y, _ = non_local.forward(x, *p, form=form)
    moved, _ = non_local.forward(np.roll(x, (1, 2), (2, 3)), *p, form=form)
    np.testing.assert_allclose(moved, np.roll(y, (1, 2), (2, 3)), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_an_image_knows_nothing_of_the_other_images(form, rng):
    x, *p = block(form, rng)
    y, _ = non_local.forward(x, *p, form=form)
    alone, _ = non_local.forward(x[1:], *p, form=form)
    np.testing.assert_allclose(y[1:], alone, rtol=1e-12)


@pytest.mark.parametrize(("form", "is_a_mean"), [("gaussian", True), ("embedded_gaussian", True),
                                                 ("dot_product", False), ("concatenation", False)])
def test_only_the_gaussians_are_means(form, is_a_mean, rng):
    _, cache = non_local.forward(*block(form, rng), form=form)
    assert np.allclose(cache.p.sum(-1), 1) == is_a_mean


def test_values_known_by_hand():
    """Two positions holding 1 and 2, one channel, every weight 1: y_i = Σ_j f_ij x_j / C."""
    x, one = np.array([1.0, 2.0]).reshape(1, 1, 1, 2), np.ones((1, 1))
    e = np.exp
    expected = {
        "gaussian": [(e(1) + 2 * e(2)) / (e(1) + e(2)), (e(2) + 2 * e(4)) / (e(2) + e(4))],
        "dot_product": [(1 * 1 + 2 * 2) / 2, (2 * 1 + 4 * 2) / 2],
        "concatenation": [(2 * 1 + 3 * 2) / 2, (3 * 1 + 4 * 2) / 2],
    }
    expected["embedded_gaussian"] = expected["gaussian"]
    for form, y in expected.items():
        p = non_local.Params(one, one, *() if form == "gaussian" else (one, one),
                             *(np.ones(2),) if form == "concatenation" else ())
        z, _ = non_local.forward(x, *p, form=form)
        np.testing.assert_allclose(z.ravel(), x.ravel() + y, rtol=1e-14, err_msg=form)


def test_a_pair_on_the_kink_of_the_concatenation_passes_no_gradient():
    """s_i + t_j = 0 for all pairs: ReLU′(0) = 0, so only the residual and g's path (here zero weights) remain."""
    x, one = np.ones((1, 1, 1, 2)), np.ones((1, 1))
    z, cache = non_local.forward(x, one, one, one, one, np.array([1.0, -1.0]), form="concatenation")
    assert np.array_equal(z, x)
    dx, dw_g, dw_z, dw_theta, dw_phi, dw_f = non_local.backward(np.ones_like(z), cache)
    assert np.array_equal(dx, np.ones_like(x))
    assert not any(map(np.any, (dw_g, dw_z, dw_theta, dw_phi, dw_f)))


def test_large_scores_do_not_overflow(rng):
    y, _ = non_local.forward(1e3 * rng.normal(size=(1, 5, 3, 4)), *non_local.init(rng, 5, 6), form="embedded_gaussian")
    assert np.isfinite(y).all()


@pytest.mark.parametrize(("form", "count", "name"), [("gaussian", 4, "w_theta"), ("dot_product", 2, "w_theta"),
                                                     ("concatenation", 4, "w_f"), ("dot_product", 5, "w_f")])
def test_weights_that_the_form_does_not_have_are_refused_by_name(form, count, name, rng):
    x, *p = block("concatenation", rng)
    with pytest.raises(ValueError, match=f"non_local.forward: {name} must be (given|None) for {form}"):
        non_local.forward(x, *p[:count], form=form)
