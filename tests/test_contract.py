"""The door: what does not fit the signature is told apart, by name, before any arithmetic."""

from typing import Literal, NamedTuple

import numpy as np
import pytest

from visattn.ops._contract import Array, Bool, Float, Integer, checked, require


class Cache(NamedTuple):
    x: Float[Array, "N C H W"]
    w: Float[Array, "O C"]


def rules(stride):
    require(stride >= 1, "stride", "be at least 1", stride)


@checked(rules)
def forward(
    x: Float[Array, "N C H W"],
    w: Float[Array, "O C"],
    b: Float[Array, "O"] | None = None,
    *,
    stride: int = 1,
    size: int | tuple[int, int] = 3,
    mode: Literal["zeros", "border"] = "zeros",
    mask: Bool[Array, "*#B #H #W"] | None = None,
    labels: Integer[Array, "N"] | None = None,
):
    calls.append(x.shape)
    return np.einsum("nchw,oc->nohw", x, w), Cache(x, w)


@checked
def backward(dy: Float[Array, "N O H W"], cache: Cache):
    return (dy,)


calls: list = []
X, W = np.ones((2, 3, 4, 5)), np.ones((6, 3))

WRONG = {
    "x must be a floating-point array with axes (N, C, H, W); got list": lambda: forward([1.0], W),
    "of dtype float32 or float64; got dtype int64": lambda: forward(X.astype(int), W),
    "got dtype object": lambda: forward(X.astype(object), W),
    "got dtype complex128": lambda: forward(X.astype(complex), W),
    "got dtype float16": lambda: forward(X.astype(np.float16), W),
    "x must be a floating-point array with axes (N, C, H, W); got None": lambda: forward(None, W),
    "w is float64 but x is float32: give all floating-point arrays one dtype": lambda: forward(X.astype("f4"), W),
    "missing a required argument: 'w'": lambda: forward(X),
    "unexpected keyword argument 'strides'": lambda: forward(X, W, strides=2),
    "stride must be an integer; got 1.5": lambda: forward(X, W, stride=1.5),
    "stride must be an integer; got True": lambda: forward(X, W, stride=True),
    "size must be an integer or 2 of them; got tuple": lambda: forward(X, W, size=(1, 2, 3)),
    "mask must be a boolean array": lambda: forward(X, W, mask=np.ones((4, 5))),
    "labels must be an integer array with axes (N); got dtype float64": lambda: forward(X, W, labels=np.ones(2)),
    "cache must be a": lambda: backward(X, (X, W)),
}
BAD_VALUE = {
    "got shape (3, 4, 5): 3 axes instead of 4": lambda: forward(X[0], W),
    "w must be a floating-point array with axes (O, C); got shape (6, 4): axis C is 4, but 3 in x":
        lambda: forward(X, np.ones((6, 4))),
    "b must be a floating-point array with axes (O); got shape (7,): axis O is 7, but 6 in w":
        lambda: forward(X, W, np.ones(7)),
    "x must have at least one element along axis H; got shape (2, 3, 0, 5)": lambda: forward(X[:, :, :0], W),
    "stride must be at least 1; got 0": lambda: forward(X, W, stride=0),
    "mode must be one of 'zeros', 'border'; got 'mirror'": lambda: forward(X, W, mode="mirror"),
    "labels must be an integer array with axes (N); got shape (3,): axis N is 3, but 2 in x":
        lambda: forward(X, W, labels=np.zeros(3, int)),
    "mask must be a boolean array with axes (*#B, #H, #W); got shape (4, 6): axis W is 6, but 5 in x":
        lambda: forward(X, W, mask=np.ones((4, 6), bool)),
    "dy must be a floating-point array with axes (N, O, H, W); got shape (2, 3, 4, 5): axis O is 3, but 6 in cache.w":
        lambda: backward(X, Cache(X, W)),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_type_is_a_type_error_that_names_the_argument(message):
    before = len(calls)
    with pytest.raises(TypeError, match=r"test_contract\.(forward|backward): ") as error:
        WRONG[message]()
    assert message in str(error.value)
    assert len(calls) == before                         # the formula never ran


@pytest.mark.parametrize("message", BAD_VALUE)
def test_a_wrong_value_is_a_value_error_that_names_the_argument(message):
    with pytest.raises(ValueError, match=r"test_contract\.(forward|backward): ") as error:
        BAD_VALUE[message]()
    assert message in str(error.value)


def test_what_fits_passes():
    forward(X, W)
    forward(X, W, np.ones(6), stride=np.int64(2), size=(1, 2), mode="border")
    forward(X, W, mask=np.ones((4, 1), bool), labels=np.zeros(2, np.uint8))
    forward(X[:0], W, labels=np.zeros(0, int))          # an empty batch


def test_shapes_are_compared_once_and_values_always():
    forward(X, W, stride=1)
    forward(X, W, stride=1)
    with pytest.raises(ValueError, match="stride"):
        forward(X, W, stride=-1)
    with pytest.raises(ValueError, match="axis C"):
        forward(X, np.ones((6, 4)), stride=1)


def test_a_torch_tensor_is_told_what_to_do():
    class Tensor:                                       # has a shape and a dtype, but not NumPy's protocol
        shape, dtype = (2, 3, 4, 5), "float32"

        def __len__(self):
            return 2

    with pytest.raises(TypeError, match=r"got Tensor; pass a NumPy array, np\.asarray"):
        forward(Tensor(), W)


def test_the_source_and_the_signature_stay_readable():
    import inspect

    assert "einsum" in inspect.getsource(forward)
    assert list(inspect.signature(forward).parameters)[:3] == ["x", "w", "b"]


class Part(NamedTuple):
    w: Float[Array, "O C"]
    b: Float[Array, "O"] | None = None


class Tree(NamedTuple):
    """Weights of a model: parts, whose axes are their own; a choice of parts; a tuple of them."""

    cls: Float[Array, "C"]
    first: Part
    maybe: Part | Cache | None
    others: tuple[Part, ...]


Tree.__name__ = "Params"


def test_weights_in_a_tree_are_checked_by_their_paths():
    @checked
    def forward(x: Float[Array, "N C H W"], p: Tree):
        return x

    part, c = Part(W, np.ones(6)), np.ones(3)
    good = Tree(c, part, None, (Part(np.ones((2, 9))), part))
    forward(X, good)                                    # C is 9 in one part, 3 in another: axes are a part's own
    forward(X, good._replace(maybe=part))
    for wrong, message in [
        (good._replace(cls=np.ones(4)), "got shape (2, 3, 4, 5): axis C is 3, but 4 in p.cls"),
        (good._replace(first=W), "p.first must be a test_contract.Part; got ndarray"),
        (good._replace(maybe=W), "p.maybe must be a test_contract.Part or a test_contract.Cache or None; got ndarray"),
        (good._replace(others=[part]), "p.others must be a tuple; got list"),
        (good._replace(others=(part, None)), "p.others.1 must be a test_contract.Part; got None"),
        (good._replace(others=(Part([[1.0]]),)), "p.others.0.w must be a floating-point array; got list"),
        (good._replace(first=Part(None)), "p.first.w must be a floating-point array; got None"),
        (good._replace(first=Part(W.astype("f2"))), "p.first.w must be a floating-point array of dtype float32 or"),
        (good._replace(others=(Part(W.astype("f4")),)), "p.cls is float64 but p.others.0.w is float32"),
        ((c, part), "p must be a test_contract.Params; got tuple"),
    ]:
        with pytest.raises((TypeError, ValueError), match="forward: ") as error:
            forward(X, wrong)
        assert message in str(error.value)


def test_an_output_has_the_axes_that_the_signature_declares(operator, rng):
    """jaxtyping itself is the judge: arguments and output bind the names of the axes together."""
    import typing

    from jaxtyping import jaxtyped

    args, options = operator.example(rng)
    y, cache = operator.forward(*args, **options)
    signature = operator.forward.__wrapped__.__annotations__
    declared, record = typing.get_args(signature["return"])
    assert record is operator.Cache
    assert isinstance(cache, record)
    outputs = list(zip(typing.get_args(declared), y)) if isinstance(y, tuple) else [(declared, y)]
    with jaxtyped("context"):
        for annotation, a in zip(signature.values(), args):
            choices = [c for c in (annotation, *typing.get_args(annotation)) if hasattr(c, "dim_str")]
            assert not choices or isinstance(a, choices[0])
        for annotation, a in outputs:
            assert isinstance(a, annotation), f"{a.shape} is not {annotation}"
