"""What an adapter is: one module of a package, as an operator of visattn, in a function that the checker calls.

    @entry("torchvision.ops.SqueezeExcitation", "squeeze_excite", "it has biases: set to 0")
    def build_squeeze_excitation(x, w1, w2):
        return filled(SqueezeExcitation(x.shape[1], len(w1)), {"fc1.weight": w1, "fc2.weight": w2})

A function called `build…` gets the NumPy arrays of a case and gives the module for them; any other is called as it is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch


class Entry(NamedTuple):
    """One row of the table."""

    subject: str                            # with its module: "timm.layers.SEModule"
    op: str
    function: Callable[..., Any]
    remark: str                             # how it differs from the operator, and what the adapter does about it
    options: dict[str, Any]                 # that it has built in


ENTRIES: list[Entry] = []
NOT_COMPARED: dict[str, str] = {}           # subject: why


def entry(subject: str, op: str, remark: str = "", **options: Any) -> Callable[..., Any]:
    """Put the function that follows into the table."""
    def kept(function: Callable[..., Any]) -> Callable[..., Any]:
        ENTRIES.append(Entry(subject, op, function, remark, options))
        return function
    return kept


def filled(module: torch.nn.Module, weights: dict[str, Any]) -> torch.nn.Module:
    """The module, for use and not for training, with these weights, and all its biases 0."""
    with torch.no_grad():
        for path, weight in module.named_parameters():
            if path in weights:
                weight.copy_(torch.as_tensor(np.asarray(weights[path], float)).reshape(weight.shape))
            elif path.rpartition(".")[2].endswith("bias"):
                weight.zero_()
    return module.eval()


def called(module: torch.nn.Module, weights: dict[str, torch.Tensor], *args: Any, **keywords: Any) -> Any:
    """The module as a function of these weights, the others as they are, in the precision of the first argument."""
    module = module.to(args[0].dtype).eval()
    known = dict(module.named_parameters())
    for path, weight in weights.items():
        if path not in known:
            raise LookupError(f"there is no {path}; there are {', '.join(known)}")
        if known[path].shape != weight.shape:
            raise ValueError(f"{path} is {tuple(known[path].shape)}, not {tuple(weight.shape)}")
    return torch.func.functional_call(module, weights, args, keywords)
