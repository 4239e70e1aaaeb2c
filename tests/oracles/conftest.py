"""Other people's implementations, imported so that only their Python layers are needed."""

import os
import sys
import types

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")


def pytest_collection_modifyitems(items):
    """Beside a CPU build of torch, torchvision's compiled operators may not load; its layers written in Python do,
    once the registration of the compiled ones is left out."""
    if not any("oracles" in str(item.path) for item in items):
        return
    torch = pytest.importorskip("torch", reason="pip install visattn[peers]")
    torch.set_default_dtype(torch.float64)
    if torch.version.cuda is None:
        sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
