"""Functions of NumPy, called: what they may return, what they must not do, and what is said about them."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

import visattn
from visattn import ops
from visattn.check.child import target as target_module
from visattn.check.child.detect import detect
from visattn.check.child.target import Target
from visattn.check.names import spec_of

ROOT = Path(visattn.__file__).parent


@pytest.fixture
def target(tmp_path):
    """target("softmax", code, …): the Target of a file with this code; each is a file of its own."""
    made = []

    def make(op, code, **spec):
        made.append(tmp_path / f"student_{tmp_path.name}_{len(made)}.py")
        made[-1].write_text("import numpy as np\n" + dedent(code))
        return Target(spec_of(getattr(ops, op), file=str(made[-1]), **spec))

    return make


@pytest.fixture
def x(rng):
    return rng.normal(size=(3, 4)).astype(np.float32).astype(np.float64)


SOFTMAX = """
    def softmax(x, axis=-1):
        e = np.exp(x - x.max(axis, keepdims=True))
        p = e / e.sum(axis, keepdims=True)
        return p, {"p": p, "axis": axis}

    def softmax_backward(dp, cache):
        p, axis = cache["p"], cache["axis"]
        return p * (dp - (dp * p).sum(axis, keepdims=True))
"""


def kinds(answer):
    return {problem.kind for problem in answer.problems}


def only(answer):
    assert len(answer.problems) == 1, answer.problems
    return answer.problems[0]


def call(found, x, dy=None, dtype="float64", options=None, **how):
    assert found.accepts.problem == ""
    return found.call({"x": x}, options or {}, dy, dtype=dtype, **how)


def test_output_gradient_and_intermediates_come_back(target, x):
    found = target("softmax", SOFTMAX)
    answer = call(found, x, [x], options={"axis": 0})
    p, cache = ops.softmax.forward(x, axis=0)
    np.testing.assert_allclose(answer.y[0], p)
    np.testing.assert_allclose(answer.grads[0], ops.softmax.backward(x, cache)[0])
    np.testing.assert_allclose(answer.inner["p"], p)
    assert answer.problems == ()
    assert answer.dtypes == {"y": "float64", "dx": "float64"}


def test_what_it_takes_is_told(target):
    accepts = target("softmax", SOFTMAX).accepts
    assert accepts.framework == "numpy"
    assert accepts.takes == ("x", "axis")
    assert accepts.gradient == "backward"
    assert accepts.dtypes == ("float64", "float32", "float16")


def test_without_a_backward_there_is_no_gradient(target, x):
    found = target("softmax", "def softmax(x): return np.exp(x)")
    assert found.accepts.gradient == ""
    assert call(found, x, [x]).grads is None


def test_the_dtype_asked_for_is_the_one_given(target, x):
    found = target("relu", "def relu(x): return np.maximum(x, 0)")
    for dtype in ("float64", "float32", "float16"):
        answer = call(found, x, dtype=dtype)
        assert answer.y[0].dtype == dtype
        assert answer.problems == ()


def test_a_dtype_that_numpy_lacks_is_unsupported(target, x):
    assert only(call(target("relu", "def relu(x): return np.maximum(x, 0)"), x, dtype="bfloat16")).kind == "unsupported"


# --- how the function is found

def test_the_only_function_of_a_file_is_meant(target):
    assert target("relu", "def my_own(x): return x * (x > 0)").accepts.problem == ""


def test_the_function_called_like_the_operator_is_meant(target, x):
    found = target("relu", "def other(x): return x + 1\ndef relu(x): return x * (x > 0)")
    assert call(found, x).y[0].min() == 0


def test_of_several_functions_one_must_be_named(target):
    problem = target("relu", "def a(x): return x\ndef b(x): return x").accepts.problem
    assert "has a, b: say which, as" in problem


def test_a_name_that_is_not_there_is_told_with_those_that_are(target):
    assert "has no gelu; it has relu" in target("relu", "def relu(x): return x", name="gelu").accepts.problem


def test_a_file_that_cannot_be_read_is_told_with_the_line(target):
    problem = target("relu", "def relu(x:\n  return x").accepts.problem
    assert "cannot be imported: SyntaxError" in problem
    assert "line 2" in problem


def test_a_file_that_raises_is_told_with_the_line(target):
    problem = target("relu", "a = [1]\na[3]").accepts.problem
    assert "IndexError: list index out of range" in problem
    assert "line 3: a[3]" in problem


def test_a_file_that_leaves_does_not_take_us_along(target):
    assert "SystemExit: 0" in target("relu", "import sys\nsys.exit(0)").accepts.problem


def test_a_missing_package_is_told(target):
    problem = target("relu", "import no_such_package\ndef relu(x): return x").accepts.problem
    assert "imports no_such_package, which is not installed" in problem


def test_a_missing_framework_is_told_with_the_line_that_installs_it(target, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    problem = target("relu", "import cupy\ndef relu(x): return cupy.maximum(x, 0)").accepts.problem
    assert problem.endswith("imports cupy, which is not installed: pip install cupy-cuda12x")
    problem = target("relu", "def relu(x): return np.maximum(x, 0)", framework="cupy").accepts.problem
    assert problem == "cupy is not installed: pip install cupy-cuda12x"


def test_a_file_that_is_not_there_is_told(tmp_path):
    assert Target(spec_of(ops.relu, file=str(tmp_path / "no.py"))).accepts.problem.startswith("there is no file")


def test_a_notebook_is_refused_with_a_way_out(tmp_path):
    (tmp_path / "a.ipynb").write_text("{}")
    assert "is a notebook" in Target(spec_of(ops.relu, file=str(tmp_path / "a.ipynb"))).accepts.problem


def test_a_file_may_import_what_lies_beside_it(target, tmp_path, x):
    (tmp_path / f"beside_{tmp_path.name}.py").write_text("def half(x): return x / 2\n")
    code = f"from beside_{tmp_path.name} import half\ndef mine(x): return half(x)"
    np.testing.assert_array_equal(call(target("relu", code, name="mine"), x).y[0], x / 2)


def test_an_operator_of_a_package_is_found_by_its_module(x):
    found = Target(spec_of(ops.softmax, module="visattn.ops.primitives.softmax"))
    answer = call(found, x, [x], options={"mask": x > 0})
    assert answer.problems == ()
    assert answer.grads[0].shape == x.shape


def test_functions_can_be_given_directly(x):
    found = Target(spec_of(ops.relu), lambda x: np.maximum(x, 0), lambda dy, x: dy * (x > 0))
    assert call(found, x, [x]).problems == ()
    assert found.accepts.gradient == "backward"


def test_a_module_can_be_given_for_its_forward_and_backward(x):
    found = Target(spec_of(ops.relu), ops.relu)
    assert found.accepts.gradient == "backward"
    assert call(found, x, [x]).problems == ()


def test_an_object_of_a_file_has_its_own_backward(target, x):
    found = target("relu", """
        class Plain:
            def forward(self, x): return np.maximum(x, 0), x
            def backward(self, dy, x): return dy * (x > 0)

        plain = Plain()
    """, name="plain")
    assert found.accepts.gradient == "backward"
    np.testing.assert_array_equal(call(found, x, [x]).grads[0], x * (x > 0))


def test_a_value_of_a_file_is_no_function(target):
    assert target("relu", "relu = 3", name="relu").accepts.problem.endswith(":relu is of type int, no function")


def test_an_option_that_was_bound_before_is_not_in_the_way(rng):
    from functools import partial

    def softmax(x, axis):
        return np.exp(x) / np.exp(x).sum(axis, keepdims=True)

    found = Target(spec_of(ops.softmax), partial(softmax, axis=0))
    assert found.accepts.problem == ""
    x = rng.normal(size=(2, 3))
    np.testing.assert_allclose(call(found, x).y[0].sum(0), 1)
    np.testing.assert_allclose(call(found, x, options={"axis": 1}).y[0].sum(1), 1)


def test_a_backward_that_belongs_to_another_function_is_left_alone(target):
    code = "def forward(x): return x\ndef backward(dy): return dy\ndef relu(x): return x"
    assert target("relu", code, name="relu").accepts.gradient == ""
    assert target("relu", code, name="forward").accepts.gradient == "backward"


def test_every_operator_passes_through_unharmed(operator, rng):
    found = Target(spec_of(operator, module=operator.__name__))
    args, options = operator.example(rng)
    spec = found.spec
    y, cache = operator.forward(*args, **options)
    leaves = y if len(spec.outputs) > 1 else [y]
    given = {n: a for n, a in zip(spec.arguments, args) if a is not None}
    for layout in ("contiguous", "strided", "readonly"):
        answer = found.call(given, options, [np.asarray(leaf) for leaf in leaves], dtype="float64", layout=layout)
        assert answer.problems == ()
        wanted = operator.backward(y, cache)
        assert len(answer.grads) == len(wanted)
        for ours, theirs in zip((*answer.y, *answer.grads), (*leaves, *wanted)):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


# --- classes, and functions that build

CLASS = """
    class SqueezeExcite:
        def __init__(self, w1, w2):
            self.w1, self.w2 = w1, w2

        def forward(self, x):
            self.x = x
            z = x.mean((2, 3))
            h = np.maximum(z @ self.w1.T, 0)
            self.s = 1 / (1 + np.exp(-h @ self.w2.T))
            return self.s[:, :, None, None] * x
"""


def squeeze(rng):
    (x, w1, w2), _ = ops.squeeze_excite.example(rng)
    y, _ = ops.squeeze_excite.forward(x, w1, w2)
    return {"x": x, "w1": w1, "w2": w2}, y


def test_a_class_gets_its_weights_when_it_is_made(target, rng):
    args, y = squeeze(rng)
    found = target("squeeze_excite", CLASS)
    assert found.accepts.takes == ("x", "w1", "w2")
    answer = found.call(args, {}, None, dtype="float64")
    assert answer.problems == ()
    np.testing.assert_allclose(answer.y[0], y)


def test_a_class_may_have_a_backward_of_its_own(target, x):
    found = target("relu", """
        class ReLU:
            def forward(self, x):
                self.on = x > 0
                return x * self.on

            def backward(self, dout):
                return dout * self.on
    """)
    answer = call(found, x, [x])
    assert found.accepts.gradient == "backward"
    np.testing.assert_array_equal(answer.grads[0], x * (x > 0))
    assert answer.problems == ()


def test_a_class_with_weights_may_name_their_gradients(target, rng):
    args = {"x": rng.normal(size=(2, 3)), "w": rng.normal(size=(4, 3))}
    found = target("linear", """
        class Linear:
            def __init__(self, weight): self.w = weight
            def forward(self, x):
                self.x = x
                return x @ self.w.T
            def backward(self, dout): return {"dx": dout @ self.w, "dw": dout.T @ self.x}
    """)
    answer = found.call(args, {}, [np.ones((2, 4))], dtype="float32")
    assert answer.problems == ()
    np.testing.assert_allclose(answer.grads[1], np.ones((4, 2)) @ args["x"], rtol=1e-5)


def test_a_class_whose_sizes_nobody_knows_is_refused_with_a_way_out(target):
    problem = target("squeeze_excite", """
        class Gate:
            def __init__(self, channels, reduction=4): pass
            def forward(self, x): return x
    """).accepts.problem
    assert "no argument of squeeze_excite is called channels" in problem
    assert "def build(**arrays)" in problem


def test_build_gets_the_arrays_of_a_case(target, rng):
    args, y = squeeze(rng)
    found = target("squeeze_excite", CLASS + """
    def build(w1, w2, **others):
        return SqueezeExcite(w1, w2)
    """)
    answer = found.call(args, {}, None, dtype="float64")
    assert answer.problems == ()
    np.testing.assert_allclose(answer.y[0], y)


# --- what is returned

def relu_that(returns):
    return f"def relu(x):\n    y = np.maximum(x, 0)\n    {returns}"


@pytest.mark.parametrize("returns", [
    "return y", "return (y,)", "return [y]", "return y, None", "return y, {'x': x}", "return {'y': y}",
    "return {'out': y, 'x': x.copy()}", "return y, y > 0", "return y, (x, 1)",
    "import collections; return collections.namedtuple('R', 'y, x')(y, x)",
    "import dataclasses; return dataclasses.make_dataclass('R', ['output'])(y)",
])
def test_an_output_may_come_alone_or_with_what_was_kept(target, x, returns):
    answer = call(target("relu", relu_that(returns)), x)
    np.testing.assert_array_equal(answer.y[0], np.maximum(x, 0))
    assert answer.problems == ()


@pytest.mark.parametrize(("returns", "kind", "says"), [
    ("pass", "missing", "returned None: a return is missing"),
    ("return y, y, y", "shape", "returned 3 things; relu has one output"),
    ("return {'a': y, 'b': y}", "missing", "a dict of a, b: none is called y"),
    ("return y.tolist()", "dtype", "returned a list of lists, not a numpy.ndarray"),
    ("return list(y[0])[0].item(), [1, 2]", "dtype", "returned a tuple of numbers"),
    ("return 'done'", "dtype", "returned a str, not a numpy.ndarray"),
    ("return y + 0j", "dtype", "y is an array of complex128"),
    ("return y.astype(object)", "dtype", "y is an array of object"),
    ("return y.astype(str)", "dtype", "y is an array of <U"),
    ("return [[1.0], [1.0, 2.0]]", "dtype", "a list of lists"),
    ("return [None]", "dtype", "a list of None"),
    ("return np", "dtype", "returned a module"),
    ("return memoryview(y)", "dtype", "returned a memoryview, not a numpy.ndarray"),
])
def test_what_is_no_output_is_told(target, x, returns, kind, says):
    problem = only(call(target("relu", relu_that(returns)), x))
    assert problem.kind == kind
    assert says in problem.says


def test_an_object_that_only_looks_like_an_array_is_refused(target, x):
    found = target("relu", """
        class Lazy:
            shape, dtype = (3, 4), np.dtype(float)
            def __array__(self, dtype=None, copy=None): return np.zeros((3, 4))

        def relu(x): return Lazy()
    """)
    problem = only(call(found, x))
    assert problem.kind == "dtype"
    assert problem.says.endswith("Lazy, not a numpy.ndarray")


def test_of_a_subclass_its_own_bytes_are_judged(target, x):
    found = target("relu", """
        class Always(np.ndarray):
            def __array_ufunc__(self, *args, **keywords): return 0.0
            def __eq__(self, other): return True
            def astype(self, dtype): return 0
            def copy(self): return 0

        def relu(x): return np.full((3, 4), 7.0).view(Always)
    """)
    answer = call(found, x)
    assert type(answer.y[0]) is np.ndarray
    assert (answer.y[0] == 7).all()


def test_integers_are_told_and_judged_as_numbers(target, x):
    answer = call(target("relu", relu_that("return (y > 0).astype(int)")), x)
    assert only(answer).kind == "dtype"
    assert answer.y[0].dtype == np.float64


def test_another_precision_is_told(target, x):
    answer = call(target("relu", relu_that("return y.astype(np.float64)")), x, dtype="float32")
    assert only(answer) == ("dtype", "y is float64, where float32 came in", "y")
    assert answer.dtypes["y"] == "float64"


def test_a_scalar_output_may_be_numpys_own(rng):
    logits, labels = rng.normal(size=(3, 4)), np.array([0, 1, 3])
    found = Target(spec_of(ops.cross_entropy), lambda logits, labels: -logits[np.arange(3), labels].mean())
    answer = found.call({"logits": logits}, {"labels": labels}, None, dtype="float32")
    assert answer.y[0].shape == ()
    assert answer.problems == ()


LSTM = """
    def lstm_cell(x, h, c, wx, wh, bx, bh):
        a, b = h * 2, c * 3
        {}
"""


@pytest.mark.parametrize("returns", [
    "return a, b", "return [a, b]", "return (a, b), {'x': x}", "return a, b, {'x': x}",
    "return {'h': a, 'c': b}",
    "return {'c': b, 'h': a, 'x': x}",
    "return (a, b), None",
])
def test_several_outputs_are_found(target, rng, returns):
    args, _ = ops.lstm_cell.example(rng)
    found = target("lstm_cell", LSTM.format(returns))
    answer = found.call(dict(zip(found.spec.arguments, args)), {}, None, dtype="float64")
    assert answer.problems == ()
    np.testing.assert_array_equal(answer.y[0], args[1] * 2)
    np.testing.assert_array_equal(answer.y[1], args[2] * 3)


@pytest.mark.parametrize(("returns", "kind"), [
    ("return a", "missing"), ("return a, {'x': x}", "missing"), ("return (a,)", "missing"),
    ("return a, b, a", "shape"),
])
def test_too_few_and_too_many_outputs_are_told(target, rng, returns, kind):
    args, _ = ops.lstm_cell.example(rng)
    found = target("lstm_cell", LSTM.format(returns))
    assert only(found.call(dict(zip(found.spec.arguments, args)), {}, None, dtype="float64")).kind == kind


# --- gradients by hand

MULTIPLY = """
    def linear(x, w):
        return x @ w.T, (x, w)

    def backward(dy, cache):
        x, w = cache
        dx, dw = dy @ w, dy.T @ x
        {}
"""


def linear(target, returns, code=MULTIPLY):
    found = target("linear", code.format(returns))
    rng = np.random.default_rng(1)
    x, w, dy = rng.normal(size=(2, 3)), rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
    return found.call({"x": x, "w": w}, {}, [dy], dtype="float64"), (dy @ w, dy.T @ x)


@pytest.mark.parametrize("returns", [
    "return dx, dw", "return [dx, dw]", "return {'dx': dx, 'dw': dw}", "return {'w': dw, 'x': dx}",
    "return {'grad_w': dw, 'grad_x': dx}", "return dx, dw, None",
    "import collections; return collections.namedtuple('G', 'dw, dx')(dw, dx)",
    "import collections; return collections.namedtuple('G', 'first, second')(dx, dw)",
])
def test_gradients_may_come_in_order_or_by_name(target, returns):
    answer, wanted = linear(target, returns)
    assert answer.problems == ()
    for ours, theirs in zip(answer.grads, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs)


@pytest.mark.parametrize(("returns", "parts", "kind", "says"), [
    ("return None", {"dx", "dw"}, "missing", "backward returned None"),
    ("return dx", {"dx", "dw"}, "missing", "returned 1 gradient; it was given 2 arguments: x, w"),
    ("return dx, dw, dw", {"dx", "dw"}, "shape", "returned 3 gradients; it was given 2 arguments"),
    ("return dx, None", {"dw"}, "missing", "backward has no gradient of w"),
    ("return {'dx': dx}", {"dw"}, "missing", "backward has no gradient of w"),
    ("return {'a': dx, 'b': dw}", {"dx", "dw"}, "missing", "a dict of a, b; it is asked for dx, dw"),
    ("return dx, dw + 0j", {"dw"}, "dtype", "dw is an array of complex128"),
    ("return dx, 'dw'", {"dw"}, "dtype", "dw is a str"),
    ("return dx.tolist(), dw.tolist()", {"dx", "dw"}, "dtype", "a tuple of lists"),
    ("return dx.astype('f4'), dw", {"dx"}, "dtype", "dx is float32, where float64 came in"),
    ("raise ValueError('no')", {"dx", "dw"}, "raised", "ValueError: no"),
])
def test_what_is_no_gradient_is_told_of_each(target, returns, parts, kind, says):
    answer, _ = linear(target, returns)
    assert len(answer.y) == 1
    assert {p.part for p in answer.problems} == parts
    assert {p.kind for p in answer.problems} == {kind}
    assert all(says in p.says for p in answer.problems)


def test_gradients_follow_the_order_of_the_functions_own_parameters(target, rng):
    found = target("linear", """
        def linear(w, x): return x @ w.T
        def backward(dy, w, x): return dy.T @ x, dy @ w
    """)
    x, w, dy = rng.normal(size=(2, 3)), rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
    answer = found.call({"x": x, "w": w}, {}, [dy], dtype="float64")
    np.testing.assert_allclose(answer.grads[0], dy @ w)
    np.testing.assert_allclose(answer.grads[1], dy.T @ x)
    assert "its gradients are read in the order of its own parameters: w, x" in found.accepts.notes


def test_an_output_of_another_shape_gets_no_gradient_and_says_so(target, x):
    found = target("relu", "def relu(x): return x.T * 1\ndef backward(dy): return dy")
    answer = call(found, x, [x])
    assert answer.y[0].shape == (4, 3)
    assert only(answer).kind == "shape"
    assert "(4, 3), where the operator's is (3, 4)" in only(answer).says


# --- promises

def test_an_input_that_was_written_is_told(target, x):
    answer = call(target("relu", "def relu(x):\n    x[x < 0] = 0\n    return x * 1"), x)
    assert only(answer) == ("mutated", "x was written", "")


def test_a_mask_that_was_written_is_told(target, x):
    found = target("softmax", "def softmax(x, mask):\n    mask[0] = False\n    return x * mask")
    assert only(call(found, x, options={"mask": np.ones((3, 4), bool)})).says == "mask was written"


def test_what_backward_writes_is_told(target, x):
    code = "def relu(x): return np.maximum(x, 0)\ndef backward(dy, x):\n    dy[x < 0] = 0\n    return dy.copy()"
    assert only(call(target("relu", code), x, [x])) == ("mutated", "dy was written by backward", "")


def test_the_callers_arrays_are_never_touched(target, x):
    before = x.copy()
    call(target("relu", "def relu(x):\n    x[:] = 7\n    return x * 1"), x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("layout", ["contiguous", "strided", "readonly"])
def test_an_output_that_is_a_view_of_an_input_is_told(target, x, layout):
    answer = call(target("relu", "def relu(x): return x[...]"), x, layout=layout)
    assert only(answer) == ("aliases", "y shares memory with x", "y")


def test_a_function_that_draws_numbers_is_told(target, x):
    answer = call(target("relu", "def relu(x): return x * np.random.rand()"), x)
    assert only(answer).kind == "changing"
    assert "of 12 elements, by up to" in only(answer).says


def test_a_buffer_that_is_returned_twice_is_found_out_by_poison(target, x):
    found = target("relu", """
        kept = {}
        def relu(x):
            if x.shape not in kept:
                kept[x.shape] = np.maximum(x, 0)
            return kept[x.shape]
    """)
    assert only(call(found, x)).kind == "changing"
    assert "infinity or NaN" in only(call(target("relu", "y = np.ones((3, 4))\ndef relu(x): return y"), x)).says


def test_an_answer_remembered_by_the_input_is_an_old_one(target, x):
    found = target("relu", """
        kept = {}
        def relu(x):
            if id(x) not in kept:
                kept[id(x)] = np.maximum(x, 0)
            return kept[id(x)].copy()
    """)
    call(found, x)
    np.testing.assert_array_equal(call(found, -x).y[0], np.maximum(x, 0))


def test_sums_in_another_order_are_no_change(target, x):
    found = target("relu", """
        n = [0]
        def relu(x):
            n[0] += 1
            return np.maximum(x, 0) * (1 + n[0] * 2.0 ** -52)
    """)
    assert call(found, x).problems == ()


def test_a_second_call_that_raises_is_told(target, x):
    found = target("relu", """
        n = []
        def relu(x):
            n.append(1)
            assert len(n) < 2
            return np.maximum(x, 0)
    """)
    answer = call(found, x)
    assert len(answer.y) == 1
    assert only(answer).kind == "changing"
    assert "AssertionError" in only(answer).says


def test_strided_inputs_have_the_same_values_and_poison_between(target, x):
    seen = []

    def relu(x):
        seen.append(x)
        return np.maximum(x, 0)

    answer = call(Target(spec_of(ops.relu), relu), x, layout="strided")
    assert not seen[0].flags.c_contiguous
    assert not seen[0].flags.f_contiguous
    np.testing.assert_array_equal(seen[0], x)
    assert np.isnan(seen[0].base).any()
    np.testing.assert_array_equal(answer.y[0], np.maximum(x, 0))


def test_read_only_inputs_cannot_be_written(target, x):
    answer = call(target("relu", "def relu(x):\n    x[x < 0] = 0\n    return x * 1"), x, layout="readonly")
    assert only(answer).kind == "mutated"
    assert "read-only" in only(answer).says


def test_an_unknown_layout_is_an_error_of_the_caller(target, x):
    with pytest.raises(ValueError, match="layout must be one of contiguous, strided, readonly; got 'fortran'"):
        call(target("relu", "def relu(x): return x * 1"), x, layout="fortran")


# --- exceptions

def test_an_exception_is_told_with_the_line_it_came_from(target, x):
    problem = only(call(target("relu", "def relu(x):\n    return x @ x"), x))
    assert problem.kind == "raised"
    assert problem.says.startswith("ValueError: matmul")
    assert problem.says.endswith(", line 3: return x @ x)")


def test_an_exception_in_a_helper_names_the_last_line_of_the_file(target, x):
    code = "def half(x):\n    return np.reshape(x, (7, 7))\ndef relu(x):\n    return half(x)"
    assert only(call(target("relu", code, name="relu"), x)).says.endswith("line 3: return np.reshape(x, (7, 7)))")


@pytest.mark.parametrize(("statement", "kind"), [
    ("raise NotImplementedError", "unsupported"),
    ("raise NotImplementedError('only 4-D')", "unsupported"),
    ("raise ValueError('float16 is not supported')", "unsupported"),
    ("raise RuntimeError('\"softmax\" not implemented for \\'Half\\'')", "unsupported"),
    ("return x + None", "raised"),
    ("return np.isfinite(x.astype(object))", "raised"),
    ("return 1 < '2'", "raised"),
    ("raise MemoryError", "resource"),
    ("raise SystemExit(0)", "raised"),
    ("return relu(x)", "raised"),
    ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})", "raised"),
])
def test_no_exception_leaves_and_each_has_its_kind(target, x, statement, kind):
    assert only(call(target("relu", f"def relu(x):\n    {statement}"), x)).kind == kind


def test_an_interruption_by_the_user_is_no_answer(target, x):
    found = target("relu", "def relu(x):\n    raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        call(found, x)


def test_warnings_of_the_function_are_not_errors(target, x):
    code = "import warnings\ndef relu(x):\n    warnings.warn('careful')\n    return np.exp(np.abs(x) * 1e5)"
    assert call(target("relu", code), x).problems == ()


def test_a_pair_that_travelled_as_a_list_is_a_pair_again():
    found = Target(spec_of(ops.max_pool2d), lambda x, kernel: np.full(x.shape, isinstance(kernel, tuple), x.dtype))
    answer = found.call({"x": np.ones((1, 1, 2, 2))}, {"kernel": [2, 1]}, None, dtype="float64")
    assert answer.y[0].all()


def test_a_function_of_numpy_is_numpys_whatever_its_file_imports():
    assert detect([lambda x: np.maximum(x, 0)], {"torch", "jax"}) == ("numpy", "the function uses numpy")
    assert detect([lambda x: x.clip(0)], {"torch"}) == ("torch", "its file imports torch")
    assert detect([lambda x: x.clip(0)], set())[0] == "numpy"


def test_a_value_that_the_function_has_no_place_for_is_unsupported(target, x):
    answer = call(target("softmax", SOFTMAX), x, options={"mask": x > 0})
    assert only(answer) == ("unsupported", "softmax has no place for mask", "")


def test_a_function_that_cannot_be_called_answers_why(target, x):
    answer = target("relu", "def relu(x, y, z): return x").call({"x": x}, {}, None, dtype="float64")
    assert "no argument of relu is called y or z" in only(answer).says


def test_the_child_needs_nothing_of_ours(tmp_path):
    """Its files run where they are copied to, without visattn."""
    (tmp_path / "alone").mkdir()
    for file in Path(target_module.__file__).parent.glob("*.py"):
        (tmp_path / "alone" / file.name).write_text(file.read_text())
    code = """
import sys
sys.modules["visattn"] = None
from alone.target import Target
from alone.records import Spec
import numpy as np
found = Target(Spec(op="relu", arguments=("x",)), lambda x: np.maximum(x, 0))
assert found.call({"x": np.ones(3)}, {}, None, dtype="float32").y[0].sum() == 3
assert not {"torch", "jax", "numba", "triton", "keras"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
