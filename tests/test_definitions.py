"""Every operator against its definition, index by index, which shares no code with it."""

import ast
import inspect

import numpy as np
import pytest

from visattn import tree
from visattn.check import definitions


@pytest.mark.parametrize("seed", range(3))
def test_forward_is_what_the_definition_says(operator, seed):
    args, options = operator.example(np.random.default_rng(seed))
    y, _ = operator.forward(*args, **options)
    expected = definition(operator).forward(*args, **options)
    for got, wanted in zip(tree.leaves(y), tree.leaves(expected), strict=True):
        assert got.shape == np.shape(wanted)
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)


def test_definition_shares_no_code(operator):
    """A definition imports NumPy and the standard library only, and NumPy only to hold and index arrays."""
    source = ast.parse(inspect.getsource(definition(operator)))
    for node in ast.walk(source):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            assert not any(name.startswith("visattn") and not name.startswith("visattn.check.definitions")
                           for name in names), f"{names} in the definition of {operator.__name__}"


def definition(operator):
    return getattr(definitions, operator.__name__.rpartition(".")[2])
