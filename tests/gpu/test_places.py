"""Where kernels run, what is said where they cannot, and arrays that come from elsewhere."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from visattn import gpu, models, ops, tree
from visattn.gpu import _device

X = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)


def test_nothing_falls_back_to_the_cpu(monkeypatch):
    monkeypatch.delenv("VISATTN_GPU", raising=False)
    if gpu.choose().place == "cuda":
        pytest.skip("there is a GPU here")
    for op in (gpu.softmax, gpu.linear):                    # a twin; an operator that has none
        with pytest.raises(gpu.NoDevice, match=r"pip install|driver"):
            op.forward(*op.example(np.random.default_rng(0))[0])


def test_choose_says_why(monkeypatch):
    monkeypatch.setenv("VISATTN_GPU", "moon")
    assert gpu.choose().place is None
    assert "must be one of cuda, host, simulator" in gpu.choose().why
    monkeypatch.setenv("VISATTN_GPU", "host")
    assert gpu.choose().place == "host"
    monkeypatch.delenv("VISATTN_GPU")
    monkeypatch.setattr(_device.importlib.util, "find_spec", lambda name: None)
    assert 'pip install "visattn[gpu]"' in gpu.choose().why


def test_a_place_must_be_one():
    with pytest.raises(ValueError, match="place must be one of 'cuda', 'host', 'simulator'; got 'cpu'"), gpu.use("cpu"):
        pass


def test_the_place_is_put_back():
    before = gpu.choose()
    with gpu.use("host"):
        assert gpu.choose().place == "host"
    assert gpu.choose() == before


def test_no_compiler_is_said(monkeypatch):
    from visattn.gpu import _host

    _host.compiler.cache_clear()
    monkeypatch.setattr(_device, "_ready", set())
    monkeypatch.setattr(_host.shutil, "which", lambda name: None)
    try:
        with pytest.raises(gpu.NoDevice, match=r"needs g\+\+"), gpu.use("host"):
            pass
    finally:
        _host.compiler.cache_clear()


@pytest.mark.parametrize(("arguments", "error", "says"), [
    (((X.astype(np.float64),), {}), TypeError, "got dtype float64; version=0 takes float32 and float64"),
    (((X,), {"axis": 5}), ValueError, "axis must name one of the 2 axes"),
    (((X,), {"version": 9}), ValueError, "version must be one of 0, 1, 2, 3; got 9"),
    (((X,), {"version": 1}), OSError, "version 1 is a Numba kernel"),
    (((X[0].tolist(),), {}), TypeError, "x must be a floating-point array"),
    (((X, X), {}), TypeError, "softmax.forward: "),
])
def test_what_does_not_fit_is_refused_at_the_door(arguments, error, says):
    args, options = arguments
    with gpu.use("host"), pytest.raises(error, match=says):
        gpu.softmax.forward(*args, **options)


def test_the_simulator_takes_the_reference_where_there_is_no_numba_kernel():
    args, options = ops.channel_gate.example(np.random.default_rng(0))
    with gpu.use("simulator"):
        y, _ = gpu.channel_gate.forward(*args, **options)
        with pytest.raises(ValueError, match="version must be one of 0, 2; got 1"):
            gpu.channel_gate.forward(*args, **options, version=1)
    np.testing.assert_array_equal(y, ops.channel_gate.forward(*args, **options)[0])


def test_version_0_is_the_reference():
    with gpu.use("host"):
        p, cache = gpu.softmax.forward(X.astype(np.float64), version=0)
    assert p.dtype == np.float64
    np.testing.assert_array_equal(p, ops.softmax.forward(X.astype(np.float64))[0])
    assert type(cache) is ops.softmax.Cache


def test_a_tensor_comes_in_and_goes_out_without_a_copy():
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(X.copy())
    with gpu.use("host"):
        p, cache = gpu.softmax.forward(x)
        dx, = gpu.softmax.backward(torch.ones_like(x), cache)
    assert isinstance(p, torch.Tensor)
    assert isinstance(dx, torch.Tensor)
    assert p.data_ptr() == cache.p.ctypes.data              # the result and what is kept are one array
    np.testing.assert_allclose(p.numpy(), ops.softmax.forward(X)[0], rtol=1e-5)


@pytest.mark.parametrize("name", dir(models))
def test_models_run_on_the_kernels(name):
    """The same weights, the same inputs, float32: the outputs and the gradients of the references."""
    model = getattr(models, name)
    args, options = model.example(np.random.default_rng(1))
    args = tree.cast(tuple(args), np.float32)
    y, cache = model.forward(*args, **options)
    grads = model.backward(tree.map(np.cos, y), cache)
    with gpu.use("host"):
        y2, cache2 = model.forward(*args, **options, F=gpu)
        grads2 = model.backward(tree.map(np.cos, y), cache2)
    for a, b in zip(tree.leaves((y, grads)), tree.leaves((y2, grads2)), strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-4, atol=2e-4 * np.abs(a).max())


@pytest.mark.parametrize(("shared", "asks"), [
    (30 << 10, None), (60 << 10, 60 << 10), (70 << 10, "this card gives 65,536")])
def test_what_does_not_fit_a_card_is_said(monkeypatch, shared, asks):
    """With a double of CuPy whose card is a T4: 64 KiB of shared memory a block, 4 of them taken by the kernel."""
    kernel = SimpleNamespace(shared_size_bytes=4 << 10, max_dynamic_shared_size_bytes=None)
    double = SimpleNamespace(
        RawModule=lambda **_: SimpleNamespace(get_function=lambda name: kernel),
        cuda=SimpleNamespace(Device=lambda: SimpleNamespace(attributes={"MaxSharedMemoryPerBlockOptin": 64 << 10})))
    monkeypatch.setitem(sys.modules, "cupy", double)
    source = Path(gpu.softmax.__file__).with_suffix(".cu")
    _device._raw.cache_clear()
    if isinstance(asks, str):
        with pytest.raises(gpu.NoDevice, match=asks):
            _device._raw(source, (), "softmax_kept", shared)
    else:
        assert _device._raw(source, (), "softmax_kept", shared).max_dynamic_shared_size_bytes == asks
    _device._raw.cache_clear()
