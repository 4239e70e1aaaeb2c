"""Other people's implementations, imported so that only their Python layers are needed."""

import importlib.util
import os
import sys
import types

import numpy as np
import pytest

from visattn import tree

os.environ.setdefault("KERAS_BACKEND", "torch")


def pytest_collection_modifyitems(items):
    """Beside a CPU build of torch, torchvision's compiled operators may not load; its layers written in Python do,
    once the registration of the compiled ones is left out."""
    if importlib.util.find_spec("torch") is None or not any("oracles" in str(item.path) for item in items):
        return
    import torch

    torch.set_default_dtype(torch.float64)
    if torch.version.cuda is None:
        sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))


@pytest.fixture
def agree(rng):
    """agree(op, args, options, peer): the operator, and peer(*tensors), agree on every output and every gradient."""
    torch = pytest.importorskip("torch")

    def check(op, args, options, peer, rtol=1e-10, atol=1e-13):
        y, cache = op.forward(*args, **options)
        tensors = [torch.tensor(a, requires_grad=True) for a in args]
        outputs = tree.leaves(peer(*tensors))
        dy = tree.map(lambda a: np.asarray(rng.normal(size=a.shape)), y)
        torch.autograd.backward(outputs, [torch.tensor(a) for a in tree.leaves(dy)])
        for ours, theirs in zip(tree.leaves(y), outputs, strict=True):
            np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=rtol, atol=atol)
        for ours, theirs in zip(op.backward(dy, cache), tensors, strict=True):
            np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=rtol, atol=atol)

    return check
