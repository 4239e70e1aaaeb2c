"""Functions of torch, JAX, keras, Numba and Triton, called by the same door as those of NumPy."""

from textwrap import dedent

import numpy as np
import pytest

from visattn import check, ops
from visattn.check.child import frameworks, packages
from visattn.check.child.detect import detect
from visattn.check.child.target import Target
from visattn.check.names import spec_of

pytestmark = pytest.mark.peers


@pytest.fixture
def target(tmp_path):
    made = []

    def make(op, code, **spec):
        made.append(tmp_path / f"student_{tmp_path.name}_{len(made)}.py".replace("[", "_").replace("]", "_"))
        made[-1].write_text("import numpy as np\n" + dedent(code))
        return Target(spec_of(getattr(ops, op), file=str(made[-1]), **spec))

    return make


def checked(found, op, rng, dtype="float64", names=None, options=None, rtol=1e-9, layout="contiguous"):
    """The answer on the operator's example, after comparison with the operator."""
    assert found.accepts.problem == ""
    args, _ = op.example(rng)
    options = options or {}
    given = {n: a.astype("f4" if dtype != "float64" else "f8").astype("f8")
             for n, a in zip(found.spec.arguments, args) if names is None or n in names}
    y, cache = op.forward(**given, **options)
    dy = np.round(rng.normal(size=y.shape), 2).astype("f4").astype("f8")
    answer = found.call(given, options, [dy], dtype=dtype, layout=layout)
    assert answer.problems == ()
    for ours, theirs in zip((*answer.y, *answer.grads), (y, *op.backward(dy, cache)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)
    return answer


def one(answer):
    assert len(answer.problems) == 1, answer.problems
    return answer.problems[0]


TORCH = """
    import torch
    def attention(query, key, value, attn_mask=None, scale=None):
        a = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None:
            a = a.masked_fill(~attn_mask, float("-inf"))
        p = torch.softmax(a, -1)
        return p @ value, {"p": p}
"""
QKV = ("q", "k", "v")


class TestTorch:
    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch")

    @pytest.mark.parametrize("layout", ["contiguous", "strided", "readonly"])
    def test_autograd_gives_the_gradients(self, target, rng, layout):
        found = target("attention", TORCH)
        assert found.accepts.framework == "torch"
        assert found.accepts.gradient == "autograd"
        answer = checked(found, ops.attention, rng, names=QKV, layout=layout)
        assert answer.inner["p"].shape == (2, 3, 4, 5)
        assert answer.dtypes == {"y": "float64", "dq": "float64", "dk": "float64", "dv": "float64"}

    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    def test_each_dtype_stays(self, target, rng, dtype):
        answer = target("attention", TORCH).call(
            {n: rng.normal(size=(2, 4, 8)) for n in QKV}, {}, [rng.normal(size=(2, 4, 8))], dtype=dtype)
        assert answer.problems == ()
        assert set(answer.dtypes.values()) == {dtype}
        assert answer.y[0].dtype == ("float32" if dtype == "bfloat16" else dtype)

    def test_a_mask_and_a_scale_are_passed_on(self, target, rng):
        mask = rng.random((4, 5)) < 0.7
        mask[:, 0] = True
        checked(target("attention", TORCH), ops.attention, rng, names=QKV, options={"mask": mask, "scale": 0.3})

    def test_the_librarys_own_compiled_function_is_understood(self, torch, rng):
        found = Target(spec_of(ops.attention), torch.nn.functional.scaled_dot_product_attention)
        assert {"q", "k", "v", "mask", "causal", "scale"} <= set(found.accepts.takes)
        assert found.accepts.values["causal"] == ["top_left", None]
        checked(found, ops.attention, rng, names=QKV, options={"causal": "top_left"})

    def test_a_gradient_by_hand_is_used(self, target, rng):
        found = target("relu", """
            import torch
            def relu(x): return torch.relu(x), x
            def backward(dy, cache):
                assert not torch.is_grad_enabled()
                return dy * (cache > 0)
        """)
        assert found.accepts.gradient == "backward"
        checked(found, ops.relu, rng)

    @pytest.mark.parametrize("code", ["""
        def forward(ctx, x, alpha=1.0):
            ctx.save_for_backward(x)
            return x.clamp(min=0)
    """, """
        def forward(x, alpha=1.0):
            return x.clamp(min=0)
        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(inputs[0])
    """])
    def test_an_autograd_function_is_applied(self, target, rng, code):
        found = target("relu", "import torch\nclass ReLU(torch.autograd.Function):\n    @staticmethod\n" + "\n".join(
            "    " + line for line in dedent(code).strip().splitlines()) + """
    @staticmethod
    def backward(ctx, dy):
        return dy * (ctx.saved_tensors[0] > 0), None
""", name="ReLU")
        assert found.accepts.gradient == "autograd"
        checked(found, ops.relu, rng)

    def test_what_was_detached_has_no_gradient(self, target, rng):
        found = target("relu", "import torch\ndef relu(x): return torch.relu(x).detach()")
        x = rng.normal(size=(2, 3))
        problem = one(found.call({"x": x}, {}, [x], dtype="float64"))
        assert (problem.kind, problem.part) == ("missing", "dx")
        assert "detached" in problem.says

    def test_what_is_left_out_of_the_graph_is_named(self, target, rng):
        found = target("linear", "import torch\ndef linear(x, w): return x @ w.detach().T")
        answer = found.call({"x": rng.normal(size=(2, 3)), "w": rng.normal(size=(4, 3))}, {}, [np.ones((2, 4))],
                            dtype="float64")
        assert one(answer) == ("missing", "autograd finds no way from the output to w", "dw")
        assert answer.grads[1] is None

    def test_an_input_that_was_written_is_told(self, target, rng):
        x = rng.normal(size=(2, 3))
        found = target("relu", "import torch\ndef relu(x): return x.relu_() * 1")
        assert one(found.call({"x": x}, {}, None, dtype="float64")) == ("mutated", "x was written", "")
        assert one(found.call({"x": x}, {}, [x], dtype="float64")).kind == "mutated"

    def test_a_view_of_an_input_is_told(self, target, rng):
        found = target("relu", "import torch\ndef relu(x): return torch.atleast_1d(x)[:]")
        assert one(found.call({"x": rng.normal(size=3)}, {}, None, dtype="float64")).kind == "aliases"

    def test_a_buffer_that_is_kept_is_found_out(self, target, rng):
        found = target("relu", """
            import torch
            kept = []
            def relu(x):
                kept.append(torch.relu(x))
                return kept[0]
        """)
        assert one(found.call({"x": rng.normal(size=3)}, {}, None, dtype="float64")).kind == "changing"

    @pytest.mark.parametrize(("returns", "kind", "says"), [
        ("x.detach().numpy()", "dtype", "returned a numpy.ndarray, not a torch.Tensor"),
        ("x.to('meta')", "dtype", "on the device meta"),
        ("x.to_sparse()", "dtype", "sparse_coo tensor"),
        ("torch.complex(x, x)", "dtype", "complex128"),
        ("torch.relu(x).float()", "dtype", "y is float32, where float64 came in"),
        ("Made.__new__(Made, x)", "dtype", "which makes up its values"),
    ])
    def test_what_is_no_plain_tensor_is_told(self, target, rng, returns, kind, says):
        found = target("relu", f"""
            import torch
            class Made(torch.Tensor):
                @staticmethod
                def __new__(cls, x): return torch.Tensor._make_wrapper_subclass(cls, x.shape, dtype=x.dtype)
                @classmethod
                def __torch_dispatch__(cls, f, types, args=(), kwargs=None): return 0
            def relu(x): return {returns}
        """, name="relu")
        problem = one(found.call({"x": rng.normal(size=(2, 3))}, {}, None, dtype="float64", repeat=1))
        assert problem.kind == kind
        assert says in problem.says

    def test_of_a_subclass_its_own_bytes_are_judged(self, target, rng):
        found = target("relu", """
            import torch
            class Always(torch.Tensor):
                @classmethod
                def __torch_function__(cls, f, types, args=(), kwargs=None): return torch.zeros(2, 3)
            def relu(x): return torch.full((2, 3), 7.0, dtype=x.dtype).as_subclass(Always)
        """, name="relu")
        answer = found.call({"x": rng.normal(size=(2, 3))}, {}, None, dtype="float64", repeat=1)
        np.testing.assert_array_equal(answer.y[0], np.full((2, 3), 7.0))

    def test_an_honest_no_is_unsupported(self, target, rng):
        found = target("linear", "import torch\ndef linear(x, w): return torch.linalg.inv(x) @ w")
        answer = found.call({"x": np.eye(3), "w": np.eye(3)}, {}, None, dtype="float16")
        assert one(answer).kind == "unsupported"


GATE = """
    import torch
    class Gate(torch.nn.Module):
        def __init__(self, C=7, M=2):
            super().__init__()
            self.fc1 = torch.nn.Conv2d(C, M, 1, bias=False)
            self.fc2 = torch.nn.Linear(M, C, bias=False)

        def forward(self, x):
            h = torch.relu(self.fc1(x.mean((2, 3), keepdim=True)))[:, :, 0, 0]
            return torch.sigmoid(self.fc2(h))[:, :, None, None] * x
"""


class TestModules:
    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch")

    def test_a_module_that_build_made_is_known_by_its_values(self, target, rng):
        found = target("squeeze_excite", GATE + """
    def build(w1, w2, **others):
        made = Gate(w1.shape[1], w1.shape[0])
        made.fc1.weight.data = torch.tensor(w1)[:, :, None, None]
        made.fc2.weight.data = torch.tensor(w2)
        return made
        """)
        assert found.accepts.takes == ("x", "w1", "w2")
        checked(found, ops.squeeze_excite, rng)
        checked(found, ops.squeeze_excite, rng, dtype="float32", rtol=1e-4)

    def test_named_weights_are_put_in(self, target, rng):
        found = target("squeeze_excite", GATE + """
    def make(**arrays):
        M, C = arrays["w1"].shape
        return Gate(C, M)
        """, name="make", weights={"w1": "fc1.weight", "w2": "fc2.weight"})
        checked(found, ops.squeeze_excite, rng)

    def test_a_weight_that_nobody_put_in_has_no_gradient_and_it_says_so(self, target, rng):
        found = target("squeeze_excite", GATE + """
    def build(w1, **others):
        return Gate(w1.shape[1], w1.shape[0])
        """)
        (x, w1, w2), _ = ops.squeeze_excite.example(rng)
        answer = found.call({"x": x, "w1": w1, "w2": w2}, {}, [x], dtype="float64", repeat=1)
        assert {(p.kind, p.part) for p in answer.problems} == {("missing", "dw1"), ("missing", "dw2")}
        assert "no weight of it holds its values" in answer.problems[0].says

    def test_an_instance_has_fixed_sizes_and_is_not_changed(self, torch, target, rng):
        module = torch.nn.Linear(3, 4).double()
        before = module.weight.detach().clone()
        found = Target(spec_of(ops.linear, weights={"w": "weight", "b": "bias"}), module)
        assert "its sizes are fixed: cases of others are left out" in found.accepts.notes
        args = {"x": rng.normal(size=(2, 3)), "w": rng.normal(size=(4, 3)), "b": rng.normal(size=4)}
        answer = found.call(args, {}, [np.ones((2, 4))], dtype="float64")
        assert answer.problems == ()
        np.testing.assert_allclose(answer.y[0], args["x"] @ args["w"].T + args["b"])
        np.testing.assert_allclose(answer.grads[1], np.ones((4, 2)) @ args["x"])
        assert torch.equal(module.weight, before)
        other = found.call({"x": np.ones((2, 5)), "w": np.ones((4, 5))}, {}, None, dtype="float64")
        assert one(other).kind == "unsupported"
        assert "sizes are fixed" in one(other).says

    def test_a_transposed_weight_is_put_in_transposed(self, target, rng):
        found = target("linear", """
            import torch
            class Layer(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.kernel = torch.nn.Parameter(torch.zeros(3, 4))
                def forward(self, x): return x @ self.kernel
        """, weights={"w": "kernel.T"})
        x, w = rng.normal(size=(2, 3)), rng.normal(size=(4, 3))
        answer = found.call({"x": x, "w": w}, {}, [np.ones((2, 4))], dtype="float32")
        np.testing.assert_allclose(answer.y[0], x @ w.T, rtol=1e-5)
        assert answer.grads[1].shape == (4, 3)

    def test_a_module_whose_weights_nobody_named_is_refused_with_their_names(self, torch):
        problem = Target(spec_of(ops.linear), torch.nn.Linear(3, 4)).accepts.problem
        assert "no place for w" in problem
        assert "it has weight, bias" in problem

    def test_a_weight_that_is_not_there_is_told(self, torch):
        found = Target(spec_of(ops.linear, weights={"w": "fc.weight"}), torch.nn.Linear(3, 4))
        assert "has no weight fc.weight; it has weight, bias" in found.accepts.problem

    def test_weights_that_no_argument_is_put_into_are_told(self, torch):
        found = Target(spec_of(ops.linear, weights={"w": "weight"}), torch.nn.Linear(3, 4))
        assert "no argument of linear is put into bias: kept as they are" in found.accepts.notes


class TestPackedWeights:
    """One weight that holds several of the operator's."""

    HEADS = """
    import torch
    class Heads(torch.nn.Module):
        def __init__(self, M=6):
            super().__init__()
            self.qkv, self.out = torch.nn.Linear(M, 3 * M), torch.nn.Linear(M, M)
        def forward(self, x, context, heads):
            w, b, M = self.qkv.weight, self.qkv.bias, x.shape[-1]
            q = x @ w[:M].T + b[:M]
            k, v = (context @ w[M:].T + b[M:]).chunk(2, -1)
            q, k, v = (u.unflatten(-1, (heads, -1)).transpose(1, 2) for u in (q, k, v))
            o = torch.nn.functional.scaled_dot_product_attention(q, k, v)
            return self.out(o.transpose(1, 2).flatten(-2))
    """
    PARTS = {"w_q": "qkv.weight[0/3]", "w_k": "qkv.weight[1/3]", "w_v": "qkv.weight[2/3]", "w_o": "out.weight",
             "b_q": "qkv.bias[0/3]", "b_v": "qkv.bias[2/3]", "b_o": "out.bias"}

    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch")

    def given(self, rng):
        args = dict(zip(("x", "context", "w_q", "w_k", "w_v", "w_o"), (
            rng.normal(size=s) for s in ((2, 3, 6), (2, 4, 6), (6, 6), (6, 6), (6, 6), (6, 6)))))
        return args | {n: rng.normal(size=6) for n in ("b_q", "b_v", "b_o")}

    @pytest.mark.parametrize("parts", [PARTS, PARTS | {
        "w_q": "qkv.weight[0:6]", "w_k": "qkv.weight[6:12]", "w_v": "qkv.weight[12:18]"}], ids=["thirds", "rows"])
    def test_each_goes_to_its_rows_and_gets_its_gradient(self, target, rng, parts):
        found, args = target("multihead", self.HEADS, name="Heads", weights=parts), self.given(rng)
        y, cache = ops.multihead.forward(**args, heads=2)
        answer = found.call(args, {"heads": 2}, [y], dtype="float64")
        assert answer.problems == ()
        np.testing.assert_allclose(answer.y[0], y)
        for ours, theirs in zip(answer.grads, ops.multihead.backward(y, cache), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)

    def test_the_rows_that_no_argument_is_put_into_are_told(self, target):
        notes = target("multihead", self.HEADS, name="Heads", weights=self.PARTS).accepts.notes
        assert "no argument of multihead is put into the rest of qkv.bias: kept as they are" in notes

    def test_parts_of_a_transposed_weight_are_those_of_its_columns(self, torch, rng):
        class Layer(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.both = torch.nn.Parameter(torch.ones(3, 8, dtype=torch.float64))

            def forward(self, x):
                return x @ self.both[:, 4:]

        x, w = rng.normal(size=(2, 3)), rng.normal(size=(4, 3))
        found = Target(spec_of(ops.linear, weights={"w": "both.T[1/2]"}), Layer())
        answer = found.call({"x": x, "w": w}, {}, [np.ones((2, 4))], dtype="float64")
        np.testing.assert_allclose(answer.y[0], x @ w.T)
        np.testing.assert_allclose(answer.grads[1], np.ones((4, 2)) @ x)

    @pytest.mark.parametrize("said", ["weight[0/3]", "weight[4/4]", "weight[2:5]", "weight[2:2]"])
    def test_rows_that_there_are_not_are_told(self, torch, said):
        found = Target(spec_of(ops.linear, weights={"w": said}), torch.nn.Linear(3, 4))
        answer = found.call({"x": np.ones((2, 3)), "w": np.ones((4, 3))}, {}, None, dtype="float64")
        assert "weight has 4 rows: there" in one(answer).says


class TestTraining:
    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch")

    def notes(self, module):
        return [n for n in Target(spec_of(ops.relu), module).accepts.notes if "training mode" in n]

    def test_a_module_that_drops_out_is_noted(self, torch):
        inner = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Dropout(0.1))
        assert self.notes(inner) == ["in training mode: Dropout (1). Call eval(), unless that is meant"]
        assert len(self.notes(torch.nn.BatchNorm2d(3))) == 1
        assert len(self.notes(torch.nn.MultiheadAttention(4, 2, dropout=0.1))) == 1

    def test_a_module_in_use_is_not_nor_one_that_drops_nothing(self, torch):
        assert self.notes(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Dropout(0.1)).eval()) == []
        assert self.notes(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Dropout(0.0))) == []
        assert self.notes(torch.nn.MultiheadAttention(4, 2)) == []

    def test_one_that_build_made_is_noted_in_the_report(self, tmp_path):
        file = tmp_path / "student.py"
        file.write_text("import torch\ndef build(**arrays):\n"
                        "    return torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Dropout(0.5))\n")
        report = check.run("relu", file=str(file), name="build", only=["plain_0"])
        assert [n for n in report.notes if "training mode" in n] == [
            "in training mode: Dropout (1). Call eval(), unless that is meant"]


class TestSelfAttention:
    """A module that attends to its own input alone."""

    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch")

    def test_it_is_told_what_to_do(self, torch):
        class Itself(torch.nn.Module):
            def forward(self, x):
                return x

        assert "--op multihead" in Target(spec_of(ops.attention), Itself()).accepts.problem
        assert "torch.cat([x, context], -1)" in Target(spec_of(ops.multihead), Itself()).accepts.problem
        assert "torch.cat" not in Target(spec_of(ops.linear), Itself()).accepts.problem

    def test_what_it_is_told_to_do_is_judged_right(self, tmp_path):
        file = tmp_path / "student.py"
        file.write_text(dedent("""
            import torch
            from torch.nn.functional import pad, scaled_dot_product_attention

            class Itself(torch.nn.Module):
                def __init__(self, features, heads, q, v, o):
                    super().__init__()
                    self.w_q, self.w_k = torch.nn.Linear(features, q, False), torch.nn.Linear(features, q, False)
                    self.w_v, self.w_o = torch.nn.Linear(features, v, False), torch.nn.Linear(v, o, False)
                    self.heads = heads
                def forward(self, x):
                    of = [w(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for w in (self.w_q, self.w_k, self.w_v)]
                    return self.w_o(scaled_dot_product_attention(*of).transpose(1, 2).flatten(-2))

            class Beside(torch.nn.Module):
                def __init__(self, heads):
                    super().__init__()
                    self.heads = heads
                def forward(self, x, context, w_q, w_k, w_v, w_o):
                    I, C = x.shape[-1], context.shape[-1]
                    if x.shape[1] != context.shape[1]:
                        raise NotImplementedError("as many tokens in both")
                    inner = Itself(I + C, self.heads, len(w_q), len(w_v), len(w_o))
                    given = {"w_q": pad(w_q, (0, C)), "w_k": pad(w_k, (I, 0)), "w_v": pad(w_v, (I, 0)), "w_o": w_o}
                    return torch.func.functional_call(inner, {f"{n}.weight": w for n, w in given.items()},
                                                      torch.cat([x, context], -1))

            def build(heads):
                return Beside(heads)
        """))
        report = check.run("multihead", file=str(file), name="build")
        assert report.passed, report.says
        assert any(case.name == "square" for case in report.cases)


class TestKeras:
    @pytest.fixture(autouse=True)
    def keras(self):
        return pytest.importorskip("keras")

    def test_a_layer_that_build_made_takes_its_weights_and_gives_their_gradients(self, target, rng):
        found = target("linear", """
            import keras
            class Layer(keras.layers.Layer):
                def __init__(self, units):
                    super().__init__()
                    self.dense = keras.layers.Dense(units)
                def call(self, x): return self.dense(x)
            def build(w, **others): return Layer(len(w))
        """, name="build", weights={"w": "dense.kernel.T", "b": "dense.bias"})
        assert found.accepts.framework == "torch"
        checked(found, ops.linear, rng, dtype="float32", rtol=1e-5)
        assert "float64" not in found.accepts.dtypes

    def test_parts_of_one_kernel_are_its_columns(self, target, rng):
        found = target("multihead", """
            from keras import layers, ops
            class Heads(layers.Layer):
                def __init__(self):
                    super().__init__()
                    self.qkv, self.out = layers.Dense(18, use_bias=False), layers.Dense(6, use_bias=False)
                def call(self, x, context, heads):
                    def split(u):
                        return ops.transpose(ops.reshape(u, (*u.shape[:2], heads, -1)), (0, 2, 1, 3))
                    q = split(self.qkv(x)[..., :6])
                    k, v = (split(u) for u in ops.split(self.qkv(context)[..., 6:], 2, -1))
                    p = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) * q.shape[-1] ** -0.5)
                    o = ops.transpose(ops.matmul(p, v), (0, 2, 1, 3))
                    return self.out(ops.reshape(o, (*o.shape[:2], -1)))
            def build(w_q, **others): return Heads()
        """, name="build", weights={"w_q": "qkv.kernel.T[0/3]", "w_k": "qkv.kernel.T[1/3]",
                                    "w_v": "qkv.kernel.T[2/3]", "w_o": "out.kernel.T"})
        args = {"x": rng.normal(size=(2, 3, 6)), "context": rng.normal(size=(2, 4, 6))}
        args |= {name: rng.normal(size=(6, 6)) for name in ("w_q", "w_k", "w_v", "w_o")}
        y, cache = ops.multihead.forward(**args, heads=2)
        answer = found.call(args, {"heads": 2}, [y], dtype="float32")
        assert answer.problems == ()
        for ours, theirs in zip((*answer.y, *answer.grads), (y, *ops.multihead.backward(y, cache)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)

    def test_float64_is_not_asked_of_keras_because_its_product_of_matrices_has_float32s_error(self, keras, rng):
        torch = pytest.importorskip("torch")
        a, b = torch.tensor(rng.normal(size=(3, 4))), torch.tensor(rng.normal(size=(4, 5)))
        error = (keras.ops.matmul(a, b).double() - a @ b).abs().max()
        assert 1e-9 < error < 1e-5

    def test_a_layer_that_holds_the_values_is_understood(self, target, rng):
        found = target("conv2d", """
            import keras
            def build(x, w, b):
                layer = keras.layers.Conv2D(w.shape[0], w.shape[2:], data_format="channels_first")
                layer.build(x.shape)
                layer.set_weights([w.transpose(2, 3, 1, 0), b])
                return layer
        """, aliases={"inputs": "x"})
        x, w, b = rng.normal(size=(2, 3, 5, 6)), rng.normal(size=(4, 3, 2, 3)), rng.normal(size=4)
        y, cache = ops.conv2d.forward(x, w, b)
        answer = found.call({"x": x, "w": w, "b": b}, {}, [y], dtype="float32")
        assert answer.problems == ()
        for ours, theirs in zip((*answer.y, *answer.grads), (y, *ops.conv2d.backward(y, cache)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)

    def test_a_layer_that_is_there_already_is_called_in_its_own_precision(self, keras, rng):
        layer = keras.layers.LayerNormalization(epsilon=1e-5, dtype="float32")
        layer.build((2, 3))
        found = Target(spec_of(ops.layernorm, weights={"g": "gamma", "b": "beta"}), layer)
        assert found.accepts.dtypes == ("float32",)
        args = {"x": rng.normal(size=(2, 3)), "g": rng.normal(size=3), "b": rng.normal(size=3)}
        y, cache = ops.layernorm.forward(**args)
        answer = found.call(args, {}, [y], dtype="float32")
        assert answer.problems == ()
        for ours, theirs in zip((*answer.y, *answer.grads), (y, *ops.layernorm.backward(y, cache)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


JAX = """
    import jax
    import jax.numpy as jnp
    def attention(q, k, v, causal=None, scale=None):
        a = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
        p = jax.nn.softmax(a)
        return p @ v, {"p": p}
"""


class TestJax:
    @pytest.fixture(autouse=True)
    def jax(self):
        return pytest.importorskip("jax")

    def test_vjp_gives_the_gradients_in_float64(self, target, rng):
        found = target("attention", JAX)
        assert (found.accepts.framework, found.accepts.gradient) == ("jax", "autograd")
        answer = checked(found, ops.attention, rng, names=QKV)
        assert answer.inner["p"].shape == (2, 3, 4, 5)
        assert answer.dtypes == {"y": "float64", "dq": "float64", "dk": "float64", "dv": "float64"}

    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    def test_each_dtype_stays(self, target, rng, dtype):
        answer = target("attention", JAX).call(
            {n: rng.normal(size=(2, 4, 8)) for n in QKV}, {}, [rng.normal(size=(2, 4, 8))], dtype=dtype)
        assert answer.problems == ()
        assert set(answer.dtypes.values()) == {dtype}
        assert answer.y[0].dtype == ("float32" if dtype == "bfloat16" else dtype)

    def test_numpys_scalars_do_not_widen_float32(self, target, rng):
        found = target("relu", "import jax.numpy as jnp\ndef relu(x): return jnp.maximum(x, 0) * np.sqrt(4.0)")
        assert found.call({"x": rng.normal(size=3)}, {}, None, dtype="float32").problems == ()

    def test_a_compiled_function_is_called_by_its_names(self, target, rng):
        found = target("relu", "import jax\n@jax.jit\ndef relu(inputs): return jax.nn.relu(inputs)")
        assert "x is called inputs" in found.accepts.notes
        checked(found, ops.relu, rng)

    def test_a_gradient_by_hand_is_used(self, target, rng):
        found = target("relu", """
            import jax.numpy as jnp
            def relu(x): return jnp.maximum(x, 0), x
            def backward(dy, cache): return (dy * (cache > 0),)
        """)
        assert found.accepts.gradient == "backward"
        checked(found, ops.relu, rng)

    def test_numpy_in_the_middle_is_told_with_the_line(self, target, rng):
        found = target("relu", "import jax.numpy as jnp\ndef relu(x): return jnp.array(np.maximum(x, 0))")
        problem = one(found.call({"x": np.ones(3)}, {}, [np.ones(3)], dtype="float64"))
        assert problem.kind == "raised"
        assert "TracerArrayConversionError" in problem.says
        assert "line 3" in problem.says

    def test_an_array_of_numpy_is_no_answer(self, target):
        found = target("relu", "import jax.numpy as jnp\ndef relu(x): return np.asarray(jnp.maximum(x, 0))")
        assert "returned a numpy.ndarray, not a jax.Array" in one(
            found.call({"x": np.ones(3)}, {}, None, dtype="float64")).says

    def test_libraries_attention_is_understood(self, jax, rng):
        found = Target(spec_of(ops.attention, framework="jax"), jax.nn.dot_product_attention)
        assert {"q", "k", "v", "bias", "mask", "scale"} <= set(found.accepts.takes)


class TestNumba:
    @pytest.fixture(autouse=True)
    def numba(self):
        if not packages.gpu():
            packages.prepare({"numba"})
        return pytest.importorskip("numba")

    def test_a_launched_kernel_is_run_in_the_simulator_or_on_the_gpu(self, target, rng):
        found = target("relu", """
            from numba import cuda

            @cuda.jit
            def kernel(x, y):
                i = cuda.grid(1)
                if i < x.size:
                    y[i] = max(x[i], 0)

            def relu(x):
                flat = np.ascontiguousarray(x).reshape(-1)
                y = np.empty_like(flat)
                kernel[(flat.size + 31) // 32, 32](flat, y)
                return y.reshape(x.shape)

            def backward(dy, x):
                return dy * (x > 0)
        """, name="relu")
        assert found.accepts.framework == "numba"
        assert found.accepts.dtypes == ("float64", "float32")
        for layout in ("contiguous", "strided", "readonly"):
            checked(found, ops.relu, rng, layout=layout)

    def test_a_loop_compiled_for_the_cpu_is_called(self, target, rng):
        found = target("relu", """
            from numba import njit
            @njit
            def relu(x):
                return np.maximum(x, 0)
        """)
        assert found.accepts.problem == ""
        assert found.accepts.takes == ("x",)
        assert found.call({"x": rng.normal(size=(2, 3))}, {}, None, dtype="float32").problems == ()


class TestTriton:
    @pytest.fixture(autouse=True)
    def triton(self):
        pytest.importorskip("torch")
        if not packages.gpu():
            packages.prepare({"triton"})
        return pytest.importorskip("triton")

    CODE = """
        import torch
        import triton
        import triton.language as tl

        @triton.jit
        def kernel(x, y, n, BLOCK: tl.constexpr):
            i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
            tl.store(y + i, tl.maximum(tl.load(x + i, mask=i < n), 0.0), mask=i < n)

        def launch(x):
            x = x.contiguous()
            y = torch.empty_like(x)
            kernel[(triton.cdiv(x.numel(), 16),)](x, y, x.numel(), BLOCK=16)
            return y
    """

    def test_a_launched_kernel_is_interpreted_or_run(self, target, rng):
        found = target("relu", self.CODE + """
        def relu(x): return launch(x)
        """, name="relu")
        assert found.accepts.framework == "triton"
        assert found.accepts.gradient == ""
        x = rng.normal(size=(3, 7))
        answer = found.call({"x": x}, {}, None, dtype="float32", layout="strided")
        assert answer.problems == ()
        np.testing.assert_array_equal(answer.y[0], np.maximum(x, 0).astype("f4"))

    def test_a_kernel_behind_an_autograd_function_has_a_gradient(self, target, rng):
        found = target("relu", self.CODE + """
        class Own(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return launch(x)
            @staticmethod
            def backward(ctx, dy):
                return dy * (ctx.saved_tensors[0] > 0)

        def relu(x): return Own.apply(x)
        """, name="relu")
        assert found.accepts.gradient == "autograd"
        checked(found, ops.relu, rng, dtype="float32", rtol=1e-6)


class TestDetection:
    def test_a_numpy_function_beside_torch_code_is_numpys(self, target):
        pytest.importorskip("torch")
        found = target("relu", "import torch\ndef relu(x): return np.maximum(x, 0)\ndef test(): return torch.ones(1)",
                       name="relu")
        assert found.accepts.framework == "numpy"
        assert "called with arrays of numpy: the function uses numpy" in found.accepts.notes

    def test_a_function_of_methods_is_of_what_its_file_imports(self, target):
        pytest.importorskip("torch")
        assert target("relu", "import torch\ndef relu(x): return x.clamp(min=0)").accepts.framework == "torch"

    def test_an_annotation_says_it(self, target):
        pytest.importorskip("torch")
        found = target("relu", "import torch\ndef relu(x: torch.Tensor): return x.clamp(min=0) + np.pi")
        assert found.accepts.framework == "torch"

    def test_a_helper_says_it(self, target):
        pytest.importorskip("torch")
        code = "import torch\ndef help(x): return torch.relu(x)\ndef relu(x): return help(x) + np.pi"
        assert target("relu", code, name="relu").accepts.framework == "torch"

    def test_two_frameworks_at_once_must_be_told_apart(self):
        torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")

        def both(x):
            return torch.ones(1) + jax.numpy.ones(1)

        with pytest.raises(packages.Missing, match="the function uses both torch and jax: say which"):
            detect([both], set())

    def test_an_unknown_framework_is_told_with_the_known(self, target):
        problem = target("relu", "def relu(x): return x", framework="mxnet").accepts.problem
        assert problem == f"no framework is called 'mxnet'; there are {', '.join(frameworks.CLASSES)}"

    def test_a_gpu_that_is_not_there_is_told(self, target):
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("there is one")
        found = target("relu", "import torch\ndef relu(x): return torch.relu(x)", device="cuda")
        assert found.accepts.problem == "torch sees no GPU here"
