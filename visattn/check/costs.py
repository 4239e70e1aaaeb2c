"""What an operator costs: multiply-adds, other operations, and bytes, counted by running the reference.

    cost(ops.attention, args, options).multiply_adds            # B·T·S·(D + E)
    cost(ops.attention, args, options, backward=True).bytes_fused

The counts are exact, and polynomials in the sizes: to know a large size, count two or three small ones.
`bytes_unfused` is what moves when every NumPy call reads its operands from memory and writes its result there;
`bytes_fused` what has to move whatever the kernel: every input that is needed is read once, every output written once.
Between the two lies what fusing can save, and operations over bytes, the intensity, says whether arithmetic or memory
sets the pace (Williams, Waterman & Patterson, "Roofline", 2009).
"""

from inspect import unwrap
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from visattn import gradcheck, tree
from visattn.check.count_array import Ledger, count, footprint


class Cost(NamedTuple):
    """Of one call, in the dtype of its arguments."""

    multiply_adds: int              # of products of matrices and of convolutions
    elementwise: int                # other operations on elements
    kinds: dict[str, int]           # these, by kind: arithmetic, functions (exp, tanh, roots, quotients), comparisons,
    #                                 selections
    reductions: int                 # elements that sums, means and maxima take in
    bytes_unfused: int
    bytes_fused: int

    @property
    def operations(self) -> int:
        """All of them; a multiply-add is two."""
        return 2 * self.multiply_adds + self.elementwise + self.reductions

    @property
    def intensity_unfused(self) -> float:
        """Operations for each byte that moves."""
        return self.operations / max(self.bytes_unfused, 1)

    @property
    def intensity_fused(self) -> float:
        """The same in one kernel that keeps everything between on the chip."""
        return self.operations / max(self.bytes_fused, 1)


def cost(op: ModuleType, args: tuple[Any, ...], options: dict[str, Any] | None = None, *,
         backward: bool = False) -> Cost:
    """Cost of op.forward at these arguments; of op.backward alone, after it, where `backward`.

    op       an operator or a model
    args     its positional arguments: arrays, or trees of arrays
    options  its keyword-only ones

    A fused backward reads dy, and what it needs of the cache; or, where these are fewer bytes, the arguments from which
    it computes that again.  Arguments are taken to be such as the operator accepts.
    """
    ledger = Ledger()
    given = count(gradcheck.given(args), ledger)
    named = {name: count(value, ledger) if _has_arrays(value) else value for name, value in (options or {}).items()}
    with np.errstate(all="ignore"):
        answer, cache = unwrap(op.forward)(*given, **named)         # behind its door, which looks at values, too
        if backward:
            ledger.turn()
            dy = tree.map(lambda a: np.ones(a.shape, a.dtype), answer)
            answer = unwrap(op.backward)(count(dy, ledger), cache)
    kinds = {kind: n for kind, n in ledger.operations.items() if n}
    outputs = sum(footprint(a.array) for a in tree.leaves(answer))
    return Cost(ledger.multiply_adds, sum(kinds.values()), kinds, ledger.reductions,
                ledger.read + ledger.written, ledger.inputs() + outputs)


def _has_arrays(value: Any) -> bool:
    """An option that is an array or a record of arrays."""
    return tree.is_leaf(value) or (hasattr(value, "_fields") and any(map(_has_arrays, value)))
