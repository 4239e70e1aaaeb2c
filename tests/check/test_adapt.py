"""Parameters are matched by name, then by place, and never by guess."""

import inspect
import typing

import pytest

from visattn import models, ops
from visattn.check.child.adapt import Broken, backward_fit, forward_fit, signature_of
from visattn.check.names import spec_of

ATTENTION = spec_of(ops.attention)
SOFTMAX = spec_of(ops.softmax)


def fit(function, spec=ATTENTION):
    return forward_fit(inspect.signature(function), "f", spec)


def bound(function, given, spec=ATTENTION):
    args, keywords = fit(function, spec).bind(given)
    return inspect.signature(function).bind(*args, **keywords).arguments


QKV = {"q": 1, "k": 2, "v": 3}


def test_own_names_need_no_note():
    found = fit(lambda q, k, v, mask=None: None)
    assert found.places == {"q": "q", "k": "k", "v": "v", "mask": "mask"}
    assert found.notes == ()
    assert found.problem == ""


def test_names_of_everybody_are_known_and_told():
    found = fit(lambda query, keys, value, attn_mask=None: None)
    assert found.places == {"query": "q", "keys": "k", "value": "v", "attn_mask": "mask"}
    assert "q is called query" in found.notes


def test_capitals_and_underscores_do_not_matter():
    assert fit(lambda Q, K, V: None).places == {"Q": "q", "K": "k", "V": "v"}
    spec = spec_of(ops.multihead)
    assert fit(lambda x, context, Wq, Wk, Wv, Wo, heads: None, spec).places["Wq"] == "w_q"


def test_unknown_names_go_by_place_if_they_are_as_many_as_are_required():
    found = fit(lambda a, b, c: None)
    assert found.places == {"a": "q", "b": "k", "c": "v"}
    assert "a is taken for q, by its place" in found.notes


def test_what_is_left_after_names_goes_by_place():
    assert fit(lambda queries, memory, v: None).places == {"queries": "q", "memory": "k", "v": "v"}


def test_a_parameter_that_means_nothing_is_refused_by_name():
    said = fit(lambda x, temp: None, SOFTMAX).problem
    assert said.startswith("f(x, temp): no argument of softmax is called temp; it has x, axis, mask. Give it a default")


def test_a_parameter_with_a_default_may_mean_nothing():
    found = fit(lambda x, temp=1.0: None, SOFTMAX)
    assert found.problem == ""
    assert found.takes == ("x",)


def test_a_missing_required_argument_is_named():
    assert "has no place for v; attention cannot be computed without" in fit(lambda q, k: None).problem


def test_a_missing_required_option_is_named():
    said = fit(lambda x, grid: None, spec_of(ops.grid_sample)).problem
    assert "no place for align_corners" in said
    assert "say its value: --option align_corners=..., in Python options={'align_corners': ...}" in said


def test_two_parameters_of_one_meaning_are_refused():
    assert fit(lambda query, queries, k, v: None).problem.endswith(
        "both query and queries could be q of attention")


def test_the_exact_name_wins_over_another_that_means_the_same():
    found = fit(lambda q, k, v, query=None: None)
    assert found.problem == ""
    assert bound(lambda q, k, v, query=None: None, QKV) == QKV


def test_aliases_of_the_user_are_followed():
    spec = spec_of(ops.softmax, aliases={"temp": "axis"})
    assert fit(lambda x, temp: None, spec).places == {"x": "x", "temp": "axis"}


def test_an_alias_to_nothing_is_an_error_of_the_user():
    with pytest.raises(LookupError, match="temp cannot be temperature of softmax, which has x, axis, mask"):
        spec_of(ops.softmax, aliases={"temp": "temperature"})


def test_values_that_are_spelled_otherwise_are_translated():
    def f(q, k, v, is_causal=False): ...

    assert bound(f, {**QKV, "causal": "top_left"}) == {**QKV, "is_causal": True}
    assert bound(f, {**QKV, "causal": None}) == {**QKV, "is_causal": False}


def test_a_value_that_has_no_spelling_is_unsupported():
    with pytest.raises(Broken, match="causal='bottom_right'") as caught:
        fit(lambda q, k, v, is_causal=False: None).bind({**QKV, "causal": "bottom_right"})
    assert caught.value.problem.kind == "unsupported"


def test_a_flag_where_the_operator_has_words_gets_true_and_false():
    assert bound(lambda q, k, v, causal=False: None, {**QKV, "causal": "top_left"})["causal"] is True


def test_an_option_without_a_place_is_not_taken_and_unsupported_when_given():
    found = fit(lambda q, k, v: None)
    assert "mask" not in found.takes
    with pytest.raises(Broken, match="no place for mask"):
        found.bind({**QKV, "mask": 0})


def test_keyword_dictionaries_take_all_options():
    found = fit(lambda q, k, v, **options: None)
    assert set(found.takes) == {*ATTENTION.arguments, *ATTENTION.options}
    assert bound(lambda q, k, v, **options: None, {**QKV, "scale": 4})["options"] == {"scale": 4}


def test_starred_parameters_take_arguments_in_order():
    assert bound(lambda *tensors: None, QKV)["tensors"] == (1, 2, 3)
    assert bound(lambda *tensors, scale=None: None, {**QKV, "scale": 4}) == {"tensors": (1, 2, 3), "scale": 4}


def test_a_wrapper_of_anything_takes_everything():
    arguments = bound(lambda *args, **keywords: None, {**QKV, "bias": 5, "scale": 4})
    assert arguments == {"args": (1, 2, 3, 5), "keywords": {"scale": 4}}


def test_positional_only_parameters_are_given_by_place():
    def f(q, k, v, mask=None, scale=None, /): ...

    args, keywords = fit(f).bind({**QKV, "scale": 4})
    assert (args, keywords) == ([1, 2, 3, None, 4], {})


def test_an_optional_argument_without_a_default_gets_the_operators():
    assert bound(lambda q, k, v, mask: None, QKV) == {**QKV, "mask": None}
    assert bound(lambda x, axis: None, {"x": 1}, SOFTMAX) == {"x": 1, "axis": -1}


def test_another_default_is_told():
    assert fit(lambda x, g, b, eps=1e-6: None, spec_of(ops.layernorm)).notes == (
        "eps is 1e-06 where it is not given; layernorm has 1e-05",)


def test_a_compiled_function_is_read_from_its_documentation():
    class Compiled:
        """compiled(query, key, value, attn_mask=None, dropout_p=0.0,
        is_causal=False, *, scale=None) -> Tensor: what it does."""

        __name__ = "compiled"
        __signature__ = "none that Python understands"

        def __call__(self): ...

    found = Compiled()
    found.__doc__ = Compiled.__doc__
    signature = signature_of(found)
    assert list(signature.parameters) == ["query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale"]
    assert signature.parameters["is_causal"].default is False


def test_without_any_signature_arguments_go_by_place():
    found = forward_fit(None, "f", ATTENTION)
    assert found.bind(QKV) == ([1, 2, 3], {})
    assert "by place" in found.notes[0]


def back(function, spec=ATTENTION, forward=lambda q, k, v: None):
    return backward_fit(inspect.signature(function), "backward", spec, fit(forward, spec))


@pytest.mark.parametrize("function", [
    lambda do, cache: None, lambda dy, cache: None, lambda grad_output, saved: None, lambda cache, dout: None,
    lambda g, ctx: None, lambda upstream_gradient, tape: None,
])
def test_the_incoming_gradient_and_the_cache_are_found_in_either_order(function):
    found = back(function)
    args, _ = found.bind(["dy"], "cache", {}, ["y"], QKV, fit(lambda q, k, v: None))
    first = next(iter(inspect.signature(function).parameters))
    assert args == (["cache", "dy"] if first == "cache" else ["dy", "cache"])


def test_a_backward_of_the_arguments_gets_them_by_name():
    found = back(lambda do, query, key, value, causal=None: None)
    given = {**QKV, "causal": "top_left"}
    args, keywords = found.bind(["dy"], None, {}, ["y"], given, fit(lambda q, k, v, causal: None))
    assert args == ["dy", 1, 2, 3, "top_left"]
    assert keywords == {}


def test_a_backward_gets_what_forward_named():
    found = back(lambda do, p, o, v: None)
    args, _ = found.bind(["dy"], {"p": "map"}, {"p": "map"}, ["out"], QKV, fit(lambda q, k, v: None))
    assert args == ["dy", "map", "out", 3]


def test_each_of_several_incoming_gradients_has_its_name():
    spec = spec_of(ops.lstm_cell)
    forward = ops.lstm_cell.forward
    found = back(lambda dh, dc, cache: None, spec, forward)
    assert found.bind([1, 2], "cache", {}, [3, 4], {}, fit(forward, spec))[0] == [1, 2, "cache"]
    found = back(lambda dy, cache: None, spec, forward)
    assert found.bind([1, 2], "cache", {}, [3, 4], {}, fit(forward, spec))[0] == [(1, 2), "cache"]


def test_a_backward_that_wants_a_cache_that_is_not_there_says_so():
    with pytest.raises(Broken, match="return \\(y, cache\\)"):
        back(lambda dy, cache: None).bind(["dy"], None, {}, ["y"], QKV, fit(lambda q, k, v: None))


def test_every_operator_has_a_spec_that_fits_itself(operator):
    spec = spec_of(operator)
    found = forward_fit(inspect.signature(operator.forward), "forward", spec)
    assert found.problem == ""
    assert found.takes == (*spec.arguments, *spec.options)
    assert found.notes == ()


def test_no_alias_is_a_name_of_the_operator_itself(operator):
    spec = spec_of(operator)
    assert not set(spec.aliases) & {*spec.arguments, *spec.options}


def test_an_operator_with_several_outputs_is_known_to_have_them(operator):
    returned = typing.get_args(inspect.signature(operator.forward).return_annotation)[0]
    several = typing.get_args(returned) if typing.get_origin(returned) is tuple else (returned,)
    assert len(spec_of(operator).outputs) == len(several)


def test_a_model_is_refused():
    with pytest.raises(TypeError, match="vit is a model"):
        spec_of(models.vit)


def test_a_weight_that_is_no_argument_is_an_error_of_the_user():
    with pytest.raises(LookupError, match="w3 cannot be a weight of squeeze_excite"):
        spec_of(ops.squeeze_excite, weights={"w3": "fc3.weight"})
